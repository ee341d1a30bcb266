#!/bin/sh
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# compile.sh ROM: makes the bare guest's ROM. The same compiler makes the same bytes. Needs gcc and binutils.
set -eu
rom=$1
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP INT TERM

cpp -P -I"$here" "$here/bare.ld.S" > "$work/bare.ld"
# -march=i586: its instructions are those that every emulator knows. -O1: a visit takes fewer of them than with -O2.
gcc -std=gnu11 -m32 -march=i586 -O1 -Wall -Wextra -ffreestanding -nostdlib -static -no-pie -fno-pic \
    -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mno-mmx -mno-sse -msoft-float \
    -fno-tree-loop-distribute-patterns -I"$here" -I"$here/.." -Wl,--build-id=none -Wl,-T,"$work/bare.ld" \
    -Wl,--no-warn-rwx-segments -o "$work/bare.elf" "$here/start.S" "$here/bare.c" "$here/machine.c" "$here/port.c" \
    "$here/text.c"
objcopy -O binary -j .text -j .startup -j .reset "$work/bare.elf" "$rom"
chmod 644 "$rom"
