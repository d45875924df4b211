# A second Docker Engine, of Debian 13 (26.1 or later): the other host of a migration, and a newer API. The binary runs in
# place, unpacked from its package. It lives in a network namespace of its own, since two daemons fight over iptables chains.

docker_next_dir() { echo "$VMKIT_BACKENDS_DIR/docker_next"; }
docker_next_netns=vmkit-docker-next

docker_next_install() {
  apt_install docker.io iproute2 iptables
  suite_unpack trixie docker docker.io
}

docker_next_alive() {
  local pid
  pid=$(cat "$(docker_next_dir)/dockerd.pid" 2>/dev/null) && grep -qsa "$(docker_next_dir)" "/proc/$pid/cmdline"
}

docker_next_start() {
  local dir waited=0
  dir=$(docker_next_dir)
  install -d -m 0700 "$dir"
  if ! docker_next_alive; then
    # nsenter, because `ip netns exec` mounts a /sys of its own, without the cgroups.
    rm -f "$dir/dockerd.pid"
    ip netns list | grep -w "$docker_next_netns" >/dev/null || ip netns add "$docker_next_netns"
    ip -n "$docker_next_netns" link set lo up
    cat >"$dir/daemon.json" <<JSON
{
  "experimental": true,
  "hosts": ["unix://$dir/docker.sock"],
  "data-root": "${VMKIT_DOCKER_NEXT_DATA:-/var/lib/vmkit-docker-next}",
  "exec-root": "$dir/exec",
  "pidfile": "$dir/dockerd.pid",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "cgroup-parent": "/vmkit-docker-next",
  "shutdown-timeout": 5
}
JSON
    PATH="$(criu_bin):$(suite_root trixie docker)/usr/sbin:$PATH" setsid nsenter --net="/run/netns/$docker_next_netns" dockerd --config-file "$dir/daemon.json" >>"$dir/dockerd.log" 2>&1 </dev/null 9>&- &
  fi
  until curl -sf --max-time 2 --unix-socket "$dir/docker.sock" http://docker/_ping >/dev/null; do
    waited=$((waited + 1))
    [ "$waited" -lt "$daemon_tries" ] || fail "dockerd does not answer; see $dir/dockerd.log"
    sleep 0.1
  done
}

docker_next_stop() {
  local pid waited=0
  docker_next_alive || return 0
  pid=$(cat "$(docker_next_dir)/dockerd.pid")
  kill "$pid"
  while [ -d "/proc/$pid" ] && [ "$waited" -lt 300 ]; do
    waited=$((waited + 1))
    sleep 0.1
  done
  ip netns del "$docker_next_netns"
}

docker_next_prove() {
  local version
  version=$(curl -sf --max-time 30 --unix-socket "$(docker_next_dir)/docker.sock" http://docker/version) || { echo "no engine at $(docker_next_dir)/docker.sock"; return 1; }
  echo "Docker Engine $(sed 's/.*"Version":"\([^"]*\)","ApiVersion":"\([^"]*\)".*/\1, API \2/' <<<"$version")"
}

docker_next_env() { echo "VMKIT_DOCKER_NEXT_SOCKET=$(docker_next_dir)/docker.sock"; }
