# containerd 1.7 of Debian's trixie, its binary and shim run in place with the host's runc (that of trixie needs a newer glibc).

containerd_17_bin() { echo "$(suite_root trixie containerd)/usr/bin"; }

containerd_17_install() {
  containerd_install
  suite_unpack trixie containerd containerd
}

containerd_17_start() { containerd_up containerd_17 "$(containerd_17_bin)"; }
containerd_17_stop() { containerd_down containerd_17; }
containerd_17_prove() { containerd_proved containerd_17; }
containerd_17_env() { echo "VMKIT_CONTAINERD_17_SOCKET=$(containerd_dir containerd_17)/containerd.sock"; }
