#!/bin/sh
# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# build.sh TARGET: builds the image of a bare guest in the folder TARGET, atomically: bare.rom  SHA256SUMS
set -eu
umask 022
target=$1
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP INT TERM

sh "$(dirname "$0")/compile.sh" "$work/bare.rom"
(cd "$work" && sha256sum bare.rom > SHA256SUMS)
chmod 755 "$work"
sync
rm -rf "$target"
mv "$work" "$target"
