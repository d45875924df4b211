#!/usr/bin/env bash
# A Debian with cloud-init and QEMU's guest agent, as a folder: make.sh FOLDER. debootstrap resolves and fetches the packages; they are
# unpacked and not configured, which takes a fifth of the time, and there is no systemd: `init` beside this runs cloud-init's stages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1 root=$1.new
[ -d "$folder" ] && exit 0
rm -rf "$root"
mkdir -p "$root"

uri=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
  grep -v '^#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
debootstrap --variant=minbase --download-only --include=cloud-init,kmod,qemu-guest-agent,python3-cffi-backend bookworm "$root" "$uri" >"$root.log" 2>&1
# The kernel that it boots is not its own, but it reads the seed with a module of it.
(cd "$root/var/cache/apt/archives" && apt-get -qq -o APT::Sandbox::User=root download \
  "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1)")

for name in bin sbin lib lib64; do mkdir -p "$root/usr/$name" && ln -sfn "usr/$name" "$root/$name"; done
for deb in "$root"/var/cache/apt/archives/*.deb; do
  case $deb in
    */linux-image-*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --wildcards './lib/modules/*/kernel/fs/isofs' './lib/modules/*/kernel/drivers/cdrom' './lib/modules/*/modules.*' ;;
    *) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink ;;
  esac
done
depmod -b "$root" "$(basename "$root"/lib/modules/*)" 2>/dev/null
rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt" "$root"/usr/share/{doc,man,locale}
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
# What its own set-up would have done: without compiled modules Python takes three times as long to start.
chroot "$root" python3 -m compileall -q /usr/lib/python3/dist-packages /usr/lib/python3.11 >/dev/null || true
install -m 0755 "$here/init" "$here/agent" "$root/sbin/"
# ds-identify, a generator of systemd, would find the source out; the others wait for services on the network. Few modules: each takes time.
cat >"$root/etc/cloud/cloud.cfg.d/90-vmkit.cfg" <<CFG
datasource_list: [NoCloud, None]
cloud_init_modules: [write-files, set_hostname]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
CFG
mv "$root" "$folder"
