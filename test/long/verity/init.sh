#!/bin/busybox sh
# The first process of the machine that verity.test.ts starts: opens images with the kernel's own dm-verity and says what
# happened on its console, a line a finding. /dev/vda is the image, /dev/vdb its hash tree, /dev/vdc the image with a bit changed.
/bin/busybox --install -s /bin
export PATH=/bin DM_DISABLE_UDEV=1
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for module in $(cat /modules/order); do insmod "/modules/$module"; done
while [ ! -b /dev/vdc ]; do sleep 0.1; done
hash=$(cat /root-hash)

say() { echo "FOUND $*"; }
digest() { (cd "$1" && find . -type f | sort | xargs sha256sum | sha256sum | cut -c1-64); }
open() { veritysetup open "$@" 2>&1 | tail -n 1; }
status() { veritysetup status "$1" | sed -n 's/^ *status: *//p'; }
readable() { cat "$1" >/dev/null 2>&1 && echo whole || echo error; }

open /dev/vda good /dev/vdb "$hash"
mount -t erofs -o ro /dev/mapper/good /mnt && say good "$(digest /mnt)" "$(status good)"
umount /mnt

open /dev/vdc bad /dev/vdb "$hash"
mount -t erofs -o ro /dev/mapper/bad /mnt
say bad "$(readable /mnt/large)" "$(readable /mnt/README.md)" "$(status bad)"
umount /mnt

# What user space verifies and what is read later need not be the same.
veritysetup verify /dev/vda /dev/vdb "$hash" >/dev/null 2>&1 && say verified yes
dd if=/dev/vdc of=/dev/vda bs=4096 conv=notrunc,fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
mount -t erofs -o ro /dev/mapper/good /mnt
say changed "$(readable /mnt/large)" "$(readable /mnt/README.md)" "$(status good)"
umount /mnt

veritysetup close good
veritysetup close bad
mount -t erofs -o ro /dev/vda /mnt
say unprotected "$(readable /mnt/large)" "$(digest /mnt)"
umount /mnt

for signature in rsa p256 broken; do
  say "signature-$signature" "$(open --root-hash-signature=/$signature.p7s /dev/vdc signed /dev/vdb "$hash")"
done
say end
poweroff -f
