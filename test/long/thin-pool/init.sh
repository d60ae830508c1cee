#!/bin/sh
# The first process of the kernel that thin-pool.test.ts starts. OUT, PRODUCT and NODE come from its command line: where
# results go, the product's directory, and the program. The root is the machine's own, read-only.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t hostfs none /mnt -o "$OUT"
exec >/mnt/log 2>&1
modules=/usr/lib/uml/modules/$(uname -r)/kernel/drivers/md
for module in dm-mod dm-bufio dm-bio-prison persistent-data/dm-persistent-data dm-snapshot dm-thin-pool; do
  insmod "$modules/$module.ko"
done
mount -t tmpfs tmpfs /etc/lvm
cat >/etc/lvm/lvm.conf <<CONF
devices {
  dir="/dev" scan=["/dev"] filter=["a|/dev/ubd.*|","r|.*|"] types=["ubd",16]
  obtain_device_list_from_udev=0 external_device_info_source="none"
}
activation { udev_sync=0 udev_rules=0 monitoring=0 }
backup { backup=0 archive=0 }
CONF
export HOME=/run TMPDIR=/run PATH=/usr/sbin:/usr/bin:/sbin:/bin
pvcreate /dev/ubda
vgcreate qubes_dom0 /dev/ubda
lvcreate -y --type thin-pool -L 200M --poolmetadatasize 8M --chunksize 64k -n vm-pool qubes_dom0
cd "$PRODUCT" && "$NODE" node_modules/vitest/vitest.mjs run --configLoader native --config test/long/thin-pool/inside.config.ts
python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'
