# Podman of Debian (4.3), for its Docker API. Its storage and socket are its own, so one of the host's is left alone.

podman_dir() { echo "$VMKIT_BACKENDS_DIR/podman"; }

podman_install() { apt_install podman conmon crun runc netavark aardvark-dns busybox-static curl; }

podman_alive() {
  local pid
  pid=$(cat "$(podman_dir)/podman.pid" 2>/dev/null) && grep -qsa "$(podman_dir)" "/proc/$pid/cmdline"
}

podman_start() {
  local dir waited=0
  dir=$(podman_dir)
  install -d -m 0700 "$dir"
  if ! podman_alive; then
    # Its own default is more than some hosts allow.
    printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n' >"$dir/containers.conf"
    # In its own folder: conmon leaves files where it was started.
    (cd "$dir" && exec env CONTAINERS_CONF="$dir/containers.conf" setsid podman --cgroup-manager=cgroupfs --runtime=runc --log-level=warn \
      --root "${VMKIT_PODMAN_DATA:-/var/lib/vmkit-podman}" --runroot "$dir/run" \
      --tmpdir "$dir/tmp" system service -t 0 "unix://$dir/podman.sock" >>"$dir/podman.log" 2>&1 </dev/null 9>&-) &
    echo $! >"$dir/podman.pid"
  fi
  until curl -sf --max-time 2 --unix-socket "$dir/podman.sock" http://docker/_ping >"$dir/answer"; do
    waited=$((waited + 1))
    [ "$waited" -lt "$daemon_tries" ] || fail "podman does not answer; see $dir/podman.log"
    sleep 0.1
  done
}

podman_stop() {
  local pid waited=0
  podman_alive || return 0
  pid=$(cat "$(podman_dir)/podman.pid")
  kill "$pid"
  while [ -d "/proc/$pid" ] && [ "$waited" -lt 300 ]; do
    waited=$((waited + 1))
    sleep 0.1
  done
}

podman_prove() {
  local version
  version=$(curl -sf --max-time 30 --unix-socket "$(podman_dir)/podman.sock" http://docker/version) || { echo "no engine at $(podman_dir)/podman.sock"; return 1; }
  echo "Podman $(sed 's/.*"Name":"Podman Engine","Version":"\([^"]*\)".*/\1/' <<<"$version")"
}

podman_env() { echo "VMKIT_PODMAN_SOCKET=$(podman_dir)/podman.sock"; }
