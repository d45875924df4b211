# A STAND-IN for Kata Containers, which no Debian has: containerd's own runc shim under the name of Kata's. It shows containerd's
# side of the driver on containerd 1.6; its machines are containers, without a VM around them.

kata_shim() { echo "$VMKIT_BACKENDS_DIR/kata/containerd-shim-kata-v2"; }

kata_install() { containerd_install; }

kata_start() {
  install -d -m 0755 "$VMKIT_BACKENDS_DIR/kata"
  # A copy that runs is left alone: it could not be written over.
  cmp -s /usr/bin/containerd-shim-runc-v2 "$(kata_shim)" || install -m 0755 /usr/bin/containerd-shim-runc-v2 "$(kata_shim)"
}

kata_stop() { :; }

kata_prove() {
  local version
  version=$("$(kata_shim)" -v 2>/dev/null) || { echo "no stand-in for Kata's shim at $(kata_shim)"; return 1; }
  echo "STAND-IN for Kata, no VM: containerd-shim-runc-v2 $(awk '/Version:/ { print $2 }' <<<"$version"), on $(containerd_prove)"
}

kata_env() { echo "VMKIT_KATA_STAND_IN=$(kata_shim)"; }
