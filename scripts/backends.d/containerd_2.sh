# containerd 2.x of Debian's sid, its binary and shim run in place with the host's runc (that of sid needs a newer glibc).

containerd_2_bin() { echo "$(suite_root sid containerd)/usr/bin"; }

containerd_2_install() {
  containerd_install
  suite_unpack sid containerd containerd
}

containerd_2_start() { containerd_up containerd_2 "$(containerd_2_bin)"; }
containerd_2_stop() { containerd_down containerd_2; }
containerd_2_prove() { containerd_proved containerd_2; }
containerd_2_env() { echo "VMKIT_CONTAINERD_2_SOCKET=$(containerd_dir containerd_2)/containerd.sock"; }
