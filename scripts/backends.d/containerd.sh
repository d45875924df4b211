# containerd of Debian 12 (1.6), with CNI's plugins. Folders, socket and shims of its own: the containerd that Docker or the host
# uses is left alone. The functions below serve the newer versions too.

# containerd_dir NAME: socket, state, pid file, log. containerd_data NAME: what may grow.
containerd_dir() { echo "$VMKIT_BACKENDS_DIR/$1"; }
containerd_data() { echo "${VMKIT_CONTAINERD_DATA:-/var/lib/vmkit-containerd}/$1"; }

containerd_install() { apt_install containerd runc containernetworking-plugins iptables iproute2 busybox-static; }

containerd_alive() {
  local pid
  pid=$(cat "$(containerd_dir "$1")/containerd.pid" 2>/dev/null) && grep -qsa "$(containerd_dir "$1")" "/proc/$pid/cmdline"
}

# containerd_up NAME FOLDER: the daemon whose binary and shim are in FOLDER.
containerd_up() {
  local name=$1 bin=$2 dir waited=0
  dir=$(containerd_dir "$name")
  install -d -m 0700 "$dir"
  if ! containerd_alive "$name"; then
    # CRI is Kubernetes' own and would claim a CNI conf; restarts are looked for each second, so that tests need not wait ten.
    cat >"$dir/config.toml" <<TOML
version = 2
root = "$(containerd_data "$name")"
state = "$dir/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[grpc]
address = "$dir/containerd.sock"
[ttrpc]
address = "$dir/containerd.sock.ttrpc"
[debug]
address = "$dir/debug.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$(containerd_data "$name")/opt"
[plugins."io.containerd.internal.v1.restart"]
interval = "1s"
[plugins."io.containerd.monitor.container.v1.restart"]
interval = "1s"
TOML
    rm -f "$dir/containerd.sock" "$dir/containerd.sock.ttrpc"
    PATH="$bin:$(criu_bin):$PATH" setsid "$bin/containerd" --config "$dir/config.toml" >>"$dir/containerd.log" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/containerd.pid"
  fi
  until [ -S "$dir/containerd.sock" ] && ctr --address "$dir/containerd.sock" --timeout 5s version >"$dir/ready" 2>&1; do
    waited=$((waited + 1))
    [ "$waited" -lt "$daemon_tries" ] && kill -0 "$(cat "$dir/containerd.pid")" 2>/dev/null || fail "containerd does not answer; see $dir/containerd.log"
    sleep 0.1
  done
}

# containerd_down NAME: containers outlive their daemon, so their shims are left to the tests that made them.
containerd_down() {
  local pid waited=0
  containerd_alive "$1" || return 0
  pid=$(cat "$(containerd_dir "$1")/containerd.pid")
  kill "$pid"
  while [ -d "/proc/$pid" ] && [ "$waited" -lt 300 ]; do
    waited=$((waited + 1))
    sleep 0.1
  done
}

containerd_proved() {
  local version
  version=$(ctr --address "$(containerd_dir "$1")/containerd.sock" --timeout 30s version 2>&1) || { echo "no containerd at $(containerd_dir "$1")/containerd.sock"; return 1; }
  echo "containerd $(awk '/^Server/ { server = 1 } server && /Version:/ { print $2 }' <<<"$version"), $(runc --version | head -n 1)"
}

containerd_start() { containerd_up containerd /usr/bin; }
containerd_stop() { containerd_down containerd; }
containerd_prove() { containerd_proved containerd; }
containerd_env() { echo "VMKIT_CONTAINERD_SOCKET=$(containerd_dir containerd)/containerd.sock"; }
