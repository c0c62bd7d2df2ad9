# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034 # variables of others
# bed.sh - for benches that compare stasis and QEMU inside the simulated host. Sourced by io and vfio.
. "$(dirname "$(readlink -f "$0")")/../guest-tests/bed/common.sh"

bench=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
linux_dir=$bench/../guest-tests/linux

# bench_bed BUILD_DIR: sets build, and files to what run-host has to put into the host
bench_bed() {
	local firmware=$bed_build/firmware
	[[ -x $1/stasis ]] || die "no $1/stasis: build first"
	build=$(cd "$1" && pwd)
	"$bed_dir/get"
	"$bed_dir/mk-host"
	mkdir -p "$firmware"
	cp "$bed_root/usr/share/seabios/bios-256k.bin" "$bed_root"/usr/share/qemu/{linuxboot_dma,kvmvapic}.bin "$firmware"
	files=("$build"/stasis{,ctl} "$linux_dir/vm-lib.sh" "$firmware" "$bed_root/usr/bin/qemu-system-x86_64")
}
