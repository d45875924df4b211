# A second Docker Engine, of Debian 13 (26.1 or later): the other host of a migration, and a newer API. The binary runs in
# place, unpacked from its package. It lives in a network namespace of its own, since two daemons fight over iptables chains.

docker_next_dir() { echo "$VMKIT_BACKENDS_DIR/docker_next"; }
docker_next_root() { echo "${VMKIT_SUITES_DIR:-/var/lib/vmkit-suites}/trixie"; }
docker_next_netns=vmkit-docker-next

docker_next_install() {
  apt_install docker.io iproute2 iptables
  local root
  root=$(docker_next_root)
  [ -x "$root/root/usr/sbin/dockerd" ] && return
  suite_unpack trixie "$root" docker.io
}

# suite_unpack SUITE FOLDER PACKAGE...: packages of another suite, unpacked below FOLDER/root. A private apt state leaves the
# host's sources as they are; the address comes from them.
suite_unpack() {
  local suite=$1 folder=$2 uri options
  shift 2
  uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    grep -v '^#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
  [ -n "$uri" ] || fail "no Debian archive in the host's apt sources"
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/debs" "$folder/root"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$uri" "$suite" >"$folder/suite.sources"
  options=(-qq -o "Dir::Etc::sourcelist=$folder/suite.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$folder/debs" && apt-get "${options[@]}" download "$@")
  local deb
  for deb in "$folder"/debs/*.deb; do dpkg -x "$deb" "$folder/root"; done
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
    ip netns list | grep -qw "$docker_next_netns" || ip netns add "$docker_next_netns"
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
    PATH="$(docker_next_root)/root/usr/sbin:$PATH" setsid nsenter --net="/run/netns/$docker_next_netns" dockerd --config-file "$dir/daemon.json" >>"$dir/dockerd.log" 2>&1 </dev/null 9>&- &
  fi
  until curl -sf --max-time 2 --unix-socket "$dir/docker.sock" http://docker/_ping >/dev/null; do
    waited=$((waited + 1))
    [ "$waited" -lt 300 ] || fail "dockerd does not answer; see $dir/dockerd.log"
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
  version=$(curl -sf --max-time 5 --unix-socket "$(docker_next_dir)/docker.sock" http://docker/version) || { echo "no engine at $(docker_next_dir)/docker.sock"; return 1; }
  echo "Docker Engine $(sed 's/.*"Version":"\([^"]*\)","ApiVersion":"\([^"]*\)".*/\1, API \2/' <<<"$version")"
}

docker_next_env() { echo "VMKIT_DOCKER_NEXT_SOCKET=$(docker_next_dir)/docker.sock"; }
