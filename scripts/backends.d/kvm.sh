# QEMU of Debian (7.2) with what its disks, firmware and guests are made of, and the vmkit guest (a kernel and an initramfs) built from
# Debian's packages. Nothing runs: the driver starts a QEMU per machine.

kvm_guest() { echo "${VMKIT_CACHE:-$HOME/.cache/vmkit}/guest"; }

# kmod, cpio and lz4 build the guest; e2fsprogs and fakeroot make disks; debootstrap makes the Debian of the cloud-init test.
kvm_install() {
  apt_install qemu-system-x86 qemu-utils ovmf seabios ipxe-qemu kmod cpio lz4 e2fsprogs fakeroot debootstrap busybox-static
  "$(dirname "${BASH_SOURCE[0]}")/../../packages/kvm/guest/build.sh" "$(kvm_guest)"
}

kvm_start() { :; }
kvm_stop() { :; }

kvm_prove() {
  local version
  version=$(qemu-system-x86_64 --version) || return 1
  [ -s "$(kvm_guest)/vmlinux" ] && [ -s "$(kvm_guest)/initramfs.cpio" ] || { echo "the vmkit guest is not built; see packages/kvm/guest"; return 1; }
  echo "$(head -n 1 <<<"$version"), guest kernel $(cat "$(kvm_guest)/kernel")"
}

kvm_env() { echo "VMKIT_KVM_GUEST=$(kvm_guest)"; }
