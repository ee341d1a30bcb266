#!/bin/sh
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# build.sh RELEASE TARGET [OPTION...]: makes TARGET, a tar of a minimal Debian with systemd and sshd, whole or not at
# all, from the source, in apt's format, on standard input. Run from the folder that holds its companions. The options
# are mmdebstrap's.
set -eu
umask 022
release=$1
target=$2
shift 2
here=$(pwd)
new=$(mktemp "$target.XXXXXX")
trap 'rm -f "$new"' EXIT
trap 'exit 129' HUP INT TERM

# Quoted for the shell that mmdebstrap starts: "$1" is the root of the new system. Each host gets keys and an id of its
# own. What comes from backports, where the source has them, is preferred as if the host's owner had asked for it.
mmdebstrap --quiet --variant=minbase --format=tar \
    --include=systemd-sysv,dbus,udev,openssh-server,python3,iproute2,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
    --customize-hook="cp '$here/lab-host.sh' \"\$1/usr/local/sbin\"; chmod 755 \"\$1/usr/local/sbin/lab-host.sh\"" \
    --customize-hook="cp '$here/lab-host.service' \"\$1/etc/systemd/system\"" \
    --customize-hook="mkdir \"\$1/etc/systemd/system/ssh.service.d\"" \
    --customize-hook="cp '$here/ssh.conf' \"\$1/etc/systemd/system/ssh.service.d/lab.conf\"" \
    --customize-hook='chroot "$1" systemctl --quiet enable lab-host.service' \
    --customize-hook='chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer console-getty.service' \
    --customize-hook='printf "Package: *\nPin: release n=*-backports\nPin-Priority: 500\n" > "$1/etc/apt/preferences.d/lab"' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/apt/apt.conf.d/99mmdebstrap"; : > "$1/etc/machine-id"' \
    "$@" "$release" "$new" -
chmod 644 "$new"
mv "$new" "$target"
