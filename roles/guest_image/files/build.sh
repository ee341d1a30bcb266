#!/bin/sh
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# build.sh RELEASE TARGET: builds the guest image of a Debian release in the folder TARGET, atomically:
#   root.squashfs  vmlinuz  initrd  bare.rom  SHA256SUMS
# from the source, in apt's format, on standard input, or from mmdebstrap's default if that is empty. Run from the folder
# that holds workload.c and its companions. Needs root, mmdebstrap, squashfs-tools and gcc. The ROM is for trying whether
# a KVM that hangs with the kernel runs anything.
set -eu
umask 022
release=$1
target=$2
here=$(pwd)
work=$(mktemp -d "$target.XXXXXX")
# The new system's programs run there, for which /tmp may be too small or mounted with noexec.
export TMPDIR="$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP INT TERM

# mmdebstrap's apt needs packages in its own folder, where "copy:" puts them and "file:" does not.
sed 's/^\(URIs: \|deb \(.* \)\?\)file:/\1copy:/' > "$work/source"
if [ -s "$work/source" ]; then set -- -; else set -- --keyring=/usr/share/keyrings/debian-archive-keyring.gpg; fi

# How this machine's apt gets through its network: proxies, certificates, logins. None of it stays in the image.
apt-config dump Acquire | grep -Ei '^Acquire::(https?::|Retries|ForceIPv|Check-)' > "$work/apt.conf" || :
eval "$(apt-config shell login Dir::Etc::netrc/f logins Dir::Etc::netrcparts/d)"
printf 'Dir::Etc::%s "%s";\n' netrc "$login" netrcparts "$logins" >> "$work/apt.conf"

cc -O2 -Wall -Wextra -static -pthread -o "$work/vcsp-workload" workload.c
sh bare/compile.sh "$work/bare.rom"

# Quoted for the shell that mmdebstrap starts: "$1" is the root of the new system.
mmdebstrap --variant=minbase --format=tar \
    --include=systemd-sysv,udev,initramfs-tools,zstd,linux-image-cloud-amd64 \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt="$work/apt.conf" \
    --essential-hook="copy-in '$here/initramfs' /tmp" \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/scripts/init-bottom"' \
    --essential-hook='install -m 755 "$1/tmp/initramfs/overlay" "$1/etc/initramfs-tools/scripts/init-bottom/overlay"' \
    --essential-hook='cat "$1/tmp/initramfs/modules" >> "$1/etc/initramfs-tools/modules"; rm -r "$1/tmp/initramfs"' \
    --customize-hook="copy-in '$work/vcsp-workload' /usr/local/sbin" \
    --customize-hook="copy-in '$here/vcsp-workload.service' '$here/vcsp.target' /etc/systemd/system" \
    --customize-hook='chroot "$1" systemctl set-default vcsp.target' \
    --customize-hook='chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer' \
    --customize-hook='echo vcsp-guest > "$1/etc/hostname"; : > "$1/etc/machine-id"' \
    --customize-hook='cd "$1/etc/apt"; rm -f apt.conf.d/99mmdebstrap sources.list sources.list.d/*' \
    --customize-hook="cp \"\$1\"/boot/vmlinuz-* '$work/vmlinuz'; cp \"\$1\"/boot/initrd.img-* '$work/initrd'" \
    "$release" "$work/root.tar" "$@" < "$work/source" || {
    echo "build.sh: no Debian $release with these sources. To use another mirror, set guest_image_mirror." >&2
    sed 's/^/    /' "$work/source" >&2
    exit 1
}
# zstd unpacks several times faster than xz, which matters where the guest is emulated.
sqfstar -quiet -no-progress -comp zstd "$work/root.squashfs" < "$work/root.tar"

rm "$work/vcsp-workload" "$work/root.tar" "$work/source" "$work/apt.conf"
(cd "$work" && sha256sum root.squashfs vmlinuz initrd bare.rom > SHA256SUMS)
chmod 755 "$work"
chmod 644 "$work"/*
sync
rm -rf "$target"
mv "$work" "$target"
