# QEMU 10.0 of Debian 12's backports, unpacked and run in place: the driver's second version. Libraries and firmware are those of 7.2.

kvm_next_binary() { echo "$(suite_root bookworm-backports qemu)/usr/bin/qemu-system-x86_64"; }

kvm_next_install() {
  suite_unpack bookworm-backports qemu qemu-system-x86 qemu-system-common qemu-system-data qemu-utils
  # It looks for firmware beside itself.
  ln -sfn /usr/share/seabios "$(suite_root bookworm-backports qemu)/usr/share/seabios"
}

kvm_next_start() { :; }
kvm_next_stop() { :; }

kvm_next_prove() {
  local version
  version=$("$(kvm_next_binary)" --version) || return 1
  # It starts: that needs more than the version's line, such as firmware.
  "$(kvm_next_binary)" -S -M q35 -accel tcg -m 32 -nodefaults -display none -monitor stdio <<<quit >/dev/null || { echo "QEMU does not start"; return 1; }
  head -n 1 <<<"$version"
}

kvm_next_env() { echo "VMKIT_KVM_NEXT_QEMU=$(kvm_next_binary)"; }
