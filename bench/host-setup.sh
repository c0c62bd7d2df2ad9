# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# host-setup.sh - inside the simulated host: KVM, and a build folder and a QEMU where lib.sh looks for them. Sourced by
# scenarios of bench. The build folder is on a disk, as it is elsewhere, and so are the checkpoints in it.
# shellcheck source=../guest-tests/bed/host-lib.sh
. /bed/host-lib.sh
# shellcheck source=/dev/null # bed.sh writes it
. /bed/bench-env

build=/state/build
export BED_CACHE=/tmp/bed-cache

# link FOLDER TARGET...
link() {
	mkdir -p "$1"
	ln -sf "${@:2}" "$1/"
}

link "$build" /bed/{stasis,kvm-usable}
link "$build/bench" /bed/{measure,floor}
link "$build/guest-tests/bare" /bed/counter.elf
link "$BED_CACHE/root" /lib64
link "$BED_CACHE/root/usr/bin" /bed/qemu-system-x86_64{,-microvm}
link "$BED_CACHE/root/usr/share"
ln -s /bed/firmware "$BED_CACHE/root/usr/share/qemu"
ln -s /bed/firmware "$BED_CACHE/root/usr/share/seabios"
link "$BED_CACHE/root/usr/lib" /t/usr/lib/x86_64-linux-gnu
mkdir "$BED_CACHE/root/lib"
ln -s /bed/lib "$BED_CACHE/root/lib/x86_64-linux-gnu"
kvm_up

# result: what comes in is a result, in markdown
result() { sed 's/^/SAY RESULT /'; }
