# Docker Engine of Debian (20.10), experimental for its checkpoints, and two registries on loopback: one open, one with a
# password. The daemon has its own folders and socket, so one of the host's is left alone.

docker_dir() { echo "$VMKIT_BACKENDS_DIR/docker"; }
docker_socket() { echo "$(docker_dir)/docker.sock"; }
# What may grow.
docker_registry_data() { echo "${VMKIT_REGISTRY_DATA:-/var/lib/vmkit-registry}/$1"; }
docker_registry_port=5491
docker_private_port=5492
docker_user=vmkit
docker_password=loopback-only

docker_install() { apt_install docker.io crun iptables busybox-static docker-registry apache2-utils curl openssl openssh-server; }

# docker_alive NAME: whether the process of this pid file lives, and is no other one that got its number.
docker_alive() {
  local pid
  pid=$(cat "$(docker_dir)/$1.pid" 2>/dev/null) && grep -qsa "$(docker_dir)" "/proc/$pid/cmdline"
}

docker_start() {
  install -d -m 0700 "$(docker_dir)"
  docker_daemon_up
  docker_registry_up registry "$docker_registry_port" ''
  docker_registry_up private "$docker_private_port" "$(docker_dir)/htpasswd"
}

docker_daemon_up() {
  local dir waited=0
  dir=$(docker_dir)
  if ! docker_alive dockerd; then
    rm -f "$dir/dockerd.pid"
    cat >"$dir/daemon.json" <<JSON
{
  "experimental": true,
  "runtimes": { "crun": { "path": "/usr/bin/crun" } },
  "hosts": ["unix://$dir/docker.sock"],
  "data-root": "${VMKIT_DOCKER_DATA:-/var/lib/vmkit-docker}",
  "exec-root": "$dir/exec",
  "pidfile": "$dir/dockerd.pid",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "shutdown-timeout": 5
}
JSON
    # CRIU is found on its PATH.
    PATH="$(criu_bin):$PATH" setsid dockerd --config-file "$dir/daemon.json" >>"$dir/dockerd.log" 2>&1 </dev/null 9>&- &
  fi
  until curl -sf --max-time 2 --unix-socket "$dir/docker.sock" http://docker/_ping >/dev/null; do
    waited=$((waited + 1))
    [ "$waited" -lt "$daemon_tries" ] || fail "dockerd does not answer; see $dir/dockerd.log"
    sleep 0.1
  done
}

# docker_registry_up NAME PORT HTPASSWD-FILE: an open registry when the file is ''.
docker_registry_up() {
  local dir name=$1 port=$2 passwords=$3 waited=0
  dir=$(docker_dir)
  if ! docker_alive "$name"; then
    {
      printf 'version: 0.1\nlog: { level: warn }\nstorage: { delete: { enabled: true }, filesystem: { rootdirectory: %s } }\n' "$(docker_registry_data "$name")"
      printf 'http: { addr: "127.0.0.1:%s" }\n' "$port"
      if [ -n "$passwords" ]; then
        htpasswd -Bbc "$passwords" "$docker_user" "$docker_password" 2>/dev/null
        printf 'auth: { htpasswd: { realm: vmkit, path: %s } }\n' "$passwords"
      fi
    } >"$dir/$name.yml"
    setsid docker-registry serve "$dir/$name.yml" >>"$dir/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/$name.pid"
  fi
  until curl -s --max-time 2 -o "$dir/$name.answer" "http://127.0.0.1:$port/v2/"; do
    waited=$((waited + 1))
    [ "$waited" -lt 300 ] || fail "docker-registry does not answer; see $dir/$name.log"
    sleep 0.1
  done
  # Somebody else may have the port, and answer on it.
  docker_alive "$name" || fail "docker-registry has ended; see $dir/$name.log"
}

docker_stop() {
  local name pid waited
  for name in dockerd registry private; do
    docker_alive "$name" || continue
    pid=$(cat "$(docker_dir)/$name.pid")
    kill "$pid"
    waited=0
    while [ -d "/proc/$pid" ] && [ "$waited" -lt 300 ]; do
      waited=$((waited + 1))
      sleep 0.1
    done
  done
}

docker_prove() {
  local version
  version=$(curl -sf --max-time 30 --unix-socket "$(docker_socket)" http://docker/version) || { echo "no engine at $(docker_socket)"; return 1; }
  echo "Docker Engine $(sed 's/.*"Version":"\([^"]*\)","ApiVersion":"\([^"]*\)".*/\1, API \2/' <<<"$version")"
}

docker_env() {
  echo "VMKIT_DOCKER_SOCKET=$(docker_socket)"
  echo "VMKIT_REGISTRY=127.0.0.1:$docker_registry_port"
  echo "VMKIT_PRIVATE_REGISTRY=127.0.0.1:$docker_private_port"
  echo "VMKIT_PRIVATE_REGISTRY_AUTH=$docker_user:$docker_password"
}
