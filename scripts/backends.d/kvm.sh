# QEMU of Debian (7.2) with what its disks, firmware and guests are made of, and the vmkit guest (a kernel and an initramfs) built from
# Debian's packages. Nothing runs: the driver starts a QEMU per machine.

# kmod, cpio, lz4 and xz build the guest; e2fsprogs and fakeroot make disks; debootstrap makes the Debian of the cloud-init test.
kvm_install() {
  apt_install qemu-system-x86 qemu-utils ovmf seabios ipxe-qemu kmod cpio lz4 xz-utils e2fsprogs fakeroot debootstrap busybox-static iproute2
  kvm_build cloud >/dev/null
  kvm_build general >/dev/null
}

# Prints the folder of the guest; builds it when it is not there.
kvm_build() { "$(dirname "${BASH_SOURCE[0]}")/../../packages/kvm/guest/build.sh" "${VMKIT_CACHE:-$HOME/.cache/vmkit}/guest" "$1"; }

kvm_start() { :; }
kvm_stop() { :; }

kvm_prove() {
  local version guest
  version=$(qemu-system-x86_64 --version) && guest=$(kvm_build cloud) || return 1
  echo "$(head -n 1 <<<"$version"), guest kernel $(cat "$guest/kernel")"
}

kvm_env() { :; }
