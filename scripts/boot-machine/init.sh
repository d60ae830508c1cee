#!/bin/busybox sh
# The first process of a machine that a restore drill starts with a kernel from outside. Finds the file system of the VM that
# holds an init, on the disk that the kernel's command line names, and hands over to it. Everything here is thrown away with
# the machine: the VM's disks are written to as a start would.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs -o mode=755 none /run
# Errors only: a console is slow, and the VM's own words are looked for on it.
dmesg -n 4

# The words are known to whoever started the machine (src/host/local/boot-words.ts).
give_up() {
  echo "strongroom: $1" >/dev/console
  poweroff -f
}

disk=$(sed -n 's/.*strongroom\.root=\([a-z]*\).*/\1/p' /proc/cmdline)
[ -n "$disk" ] || give_up 'nothing to start'

for module in virtio_pci virtio_blk virtio_console; do modprobe "$module"; done
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  [ -b "/dev/$disk" ] && break
  sleep 0.5
done

has_init() {
  # Links are the VM's, and lead into its own root: they are not followed here.
  for file in sbin/init etc/init bin/init usr/lib/systemd/systemd; do
    if [ -f "/root/$file" ] || [ -L "/root/$file" ]; then
      init=/$file
      return 0
    fi
  done
  return 1
}

at() { dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null; }

# By their marks: btrfs, when its module is loaded for nothing, measures its checksums for seconds.
type_of() {
  if [ "$(at "$1" 0 4)" = XFSB ]; then
    echo xfs
  elif [ "$(at "$1" 65600 8)" = _BHRfS_M ]; then
    echo btrfs
  else
    echo ext4
  fi
}

find_root() {
  for root in "/dev/$disk" "/dev/$disk"[0-9]*; do
    [ -b "$root" ] || continue
    type=$(type_of "$root")
    grep -qw "$type" /proc/filesystems || modprobe "$type"
    mount -t "$type" "$root" /root 2>/dev/null || continue
    has_init && return 0
    umount /root
  done
  return 1
}
find_root || give_up 'no init'

# The names that a VM of Qubes OS knows its disks by.
mkdir -p /run/udev/rules.d
cat >/run/udev/rules.d/10-strongroom.rules <<RULES
SUBSYSTEM=="block", KERNEL=="vd*", SYMLINK+="x%k"
SUBSYSTEM=="block", KERNEL=="${root#/dev/}", SYMLINK+="mapper/dmroot"
RULES
for device in /dev/vd*; do ln -s "${device#/dev/}" "/dev/x${device#/dev/}"; done
[ -e /dev/mapper/dmroot ] || { mkdir -p /dev/mapper && ln -s "../${root#/dev/}" /dev/mapper/dmroot; }

# The VM has no modules for a kernel that is not its own.
modules=lib/modules/$(uname -r)
if [ ! -e "/root/$modules" ] && mkdir -p "/root/$modules"; then
  mkdir -p /run/strongroom-modules
  cp -a "/$modules/." /run/strongroom-modules
  mount --bind /run/strongroom-modules "/root/$modules"
fi

for mounted in dev proc sys run; do
  mkdir -p "/root/$mounted"
  mount --move "/$mounted" "/root/$mounted"
done
exec switch_root /root "$init"
