#!/bin/sh
# Makes what a restore drill starts VMs with that have no boot loader: a kernel of Debian's, and an initial file system with
# busybox, the modules of that kernel which disks and usual file systems need, and init.sh.
#   sh scripts/boot-machine/build.sh KERNEL-DIRECTORY OUTPUT-DIRECTORY
# KERNEL-DIRECTORY is an unpacked Debian package linux-image-*; OUTPUT-DIRECTORY gets `vmlinuz` and `initramfs.gz`. Needs
# busybox-static and kmod, and no root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

release=$(ls "$kernel/lib/modules")
root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/root" "$root/lib/modules/$release"
cp /bin/busybox "$root/bin/busybox"
cp "$here/init.sh" "$root/init"
chmod 755 "$root/init" "$root/bin/busybox"

# Of the copy: the package is left as it was unpacked.
cp -al "$kernel/lib" "$work/lib" 2>/dev/null || cp -a "$kernel/lib" "$work/lib"
/sbin/depmod -b "$work" "$release"
cp "$work/lib/modules/$release/modules.builtin" "$work/lib/modules/$release/modules.builtin.modinfo" "$work/lib/modules/$release/modules.order" "$root/lib/modules/$release/"
modules='virtio_pci virtio_blk virtio_console virtio_rng ext4 xfs btrfs crc32c_generic vfat nls_ascii nls_cp437 nls_iso8859-1
  nls_utf8 isofs squashfs overlay fuse autofs4 binfmt_misc loop dm_mod dm_crypt configfs efivarfs'
for module in $modules; do
  /sbin/modprobe -d "$work" -S "$release" --show-depends "$module" 2>/dev/null || true
done | sed -n "s|^insmod $work/||p" | sort -u | while read -r file; do
  mkdir -p "$root/$(dirname "$file")"
  cp "$work/$file" "$root/$file"
done
/sbin/depmod -b "$root" "$release"

(cd "$root" && find . | sort | busybox cpio -o -H newc -R 0:0 2>/dev/null) | gzip -n >"$work/initramfs.gz"
cp "$kernel"/boot/vmlinuz-* "$work/vmlinuz"
mv "$work/vmlinuz" "$work/initramfs.gz" "$out/"
