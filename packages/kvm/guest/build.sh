#!/usr/bin/env bash
# Builds the vmkit guest: a kernel and an initramfs that boot an image or a root file system as a machine.
#   build.sh FOLDER [cloud | general]
# leaves vmlinux, vmlinuz, initramfs.cpio and kernel (its release) in FOLDER/VERSION, where machines find what they were made with even
# after an update, and prints that folder. Needs a Debian 12 host (or another Debian or Ubuntu), with apt's
# sources, cpio, lz4, kmod; no root. Everything comes from Debian's packages, which are unpacked and not installed:
#   linux-image-cloud-amd64                   the kernel, and the modules that a virtual machine needs
#   or linux-image-amd64                      `general`: boots 0.5 s slower under TCG, and can mount folders of the host (9p)
#   tcc, musl-dev, linux-libc-dev             compile guest/src to one static program, PID 1 of the guest
# Building again with the same source changes nothing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:?usage: build.sh FOLDER [cloud | general]}
flavour=${2:-cloud}
case $flavour in
  cloud) package=linux-image-cloud-amd64 ;;
  general) package=linux-image-amd64 ;;
  *) echo "guest/build.sh: cloud or general, not $flavour" >&2 && exit 2 ;;
esac
version=$flavour-$(cat "$here/build.sh" "$here"/src/* | sha256sum | cut -c 1-16)

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
exec 8>"$folder/.lock"
flock 8
done=$folder/$version
if [ -d "$done" ]; then
  echo "$done"
  exit 0
fi

fail() {
  echo "guest/build.sh: $*" >&2
  exit 1
}
for tool in apt-get dpkg cpio lz4 xz modprobe; do
  command -v "$tool" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || fail "$tool is not installed"
done
PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d "$folder/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/debs" "$work/root" "$work/initramfs"

# The meta package names the newest kernel that this host's sources have.
image=$(apt-cache depends "$package" | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1)
[ -n "$image" ] || fail "apt knows no $package; run apt-get update"
(cd "$work/debs" && apt-get -qq -o APT::Sandbox::User=root download "$image" tcc musl-dev linux-libc-dev)
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root"; done
root=$work/root

# UEFI starts vmlinuz as a program. A kernel without its decompressor starts sooner: QEMU enters it by its PVH note. The payload of a bzImage
# begins payload_offset bytes behind the real-mode code and is payload_length long (Documentation/x86/boot.rst), its last 4 bytes a size.
vmlinuz=$(ls "$root"/boot/vmlinuz-*)
at() { od -An -t "u$2" -j "$(($1))" -N "$2" "$vmlinuz" | tr -d ' '; }
start=$((($(at 0x1f1 1) + 1) * 512 + $(at 0x248 4)))
tail -c "+$((start + 1))" "$vmlinuz" | head -c "$(($(at 0x24c 4) - 4))" >"$work/payload" || true
# By its magic: the two are compressed differently.
if [ "$(od -An -t x1 -N 4 "$work/payload" | tr -d ' ')" = 02214c18 ]; then lz4 -dqc "$work/payload"; else xz -dc "$work/payload"; fi >"$work/vmlinux"

# Modules by the names that guest/src/boot.c loads; one that is missing is built in.
release=$(basename "$root"/lib/modules/*)
depmod -b "$root" "$release"
mkdir "$work/initramfs/modules"
for module in virtio_pci virtio_mmio virtio_blk virtio_net virtio_console virtio-rng virtio_balloon virtiofs 9pnet_virtio 9p ext4 crc32c_generic button evdev; do
  modprobe -d "$root" -S "$release" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
done | sort -u | xargs -I{} cp {} "$work/initramfs/modules/"

musl=$root/usr/lib/x86_64-linux-musl tcc=$root/usr/lib/x86_64-linux-gnu/tcc
"$root/usr/bin/tcc" -D_GNU_SOURCE -nostdinc -I"$root/usr/include/x86_64-linux-musl" -I"$tcc/include" -I"$root/usr/include" -I"$root/usr/include/x86_64-linux-gnu" \
  -nostdlib -static -w -o "$work/initramfs/init" "$musl/crt1.o" "$musl/crti.o" "$here"/src/*.c "$musl/libc.a" "$tcc/libtcc1.a" "$musl/crtn.o"

# Not compressed: unpacking would cost more than reading. The host adds an archive of its own behind it, with what to run.
mkdir "$work/initramfs/dev" "$work/initramfs/proc" "$work/initramfs/sys"
(cd "$work/initramfs" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible >"$work/initramfs.cpio")

mkdir "$work/done"
mv "$work/vmlinux" "$work/initramfs.cpio" "$work/done/"
cp "$vmlinuz" "$work/done/vmlinuz"
echo "$release" >"$work/done/kernel"
# Last, and as a whole.
mv "$work/done" "$done"
echo "$done"
