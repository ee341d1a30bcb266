#!/bin/sh
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Gives a container what a host of its own has: cgroups that it may change, devices, and an identity.
set -eu

# systemd-nspawn mounts the controllers of cgroup v1 so that they can only be read.
grep ' cgroup ro,' /proc/mounts | while read -r _ point _; do
    mount -o remount,bind,rw "$point"
done

# As udev makes them: the host's own, so that it can give them to whom it wants.
while read -r minor name; do
    case "$name" in
        kvm | userfaultfd) group=kvm ;;
        tun | cpu_dma_latency) group=root ;;
        *) continue ;;
    esac
    [ "$name" != tun ] || { mkdir -p /dev/net; name=net/tun; }
    rm -f "/dev/$name"
    mknod -m 660 "/dev/$name" c 10 "$minor"
    chgrp "$group" "/dev/$name"
done < /proc/misc

# libvirt knows a host by its mainboard, which all hosts on one machine share, and migrates no guest "to itself".
board=/sys/devices/virtual/dmi/id/product_uuid
[ ! -e "$board" ] || mount --bind /etc/machine-id "$board"
