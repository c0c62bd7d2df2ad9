# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034 # variables of others
# bed.sh - for benches that run inside the simulated host. Sourced by in-bed, kexec, io and vfio.
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
	cp "$bed_root"/usr/share/seabios/bios-{256k,microvm}.bin \
		"$bed_root"/usr/share/qemu/{{linuxboot_dma,kvmvapic,pvh}.bin,qboot.rom} "$firmware"
	files=("$build"/stasis{,ctl} "$linux_dir/vm-lib.sh" "$firmware" "$bed_root/usr/bin/qemu-system-x86_64")
}

# bench_programs BUILD_DIR: bench_bed, and into files what launch, blackout, memory and kexec want in the host, where
# host-setup.sh puts it in its place; with it go the BENCH_* that are set here
bench_programs() {
	local file
	bench_bed "$1"
	files+=("$build"/{kvm-usable,bench/{measure,floor}} "$build/guest-tests/bare/counter.elf" "$bench"
		"$bed_root/usr/bin/qemu-system-x86_64-microvm")
	for file in "${files[@]}"; do
		[[ -e $file ]] || die "no $file: run cmake --build $build"
	done
	BENCH_MACHINE="$(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)"
	export BENCH_MACHINE
	export -p | grep '^declare -x BENCH_' >"$bed_build/bench-env" || true
	files+=("$bed_build/bench-env")
}

# bench_host NAME OPTION...: runs the scenario of that name. What it says of a result comes out as it is, the rest as
# progress. 125: the emulated CPU has lost the host (guest-tests/bed/README.md): once more
bench_host() {
	local name=$1
	shift
	set -- "$bed_dir/run-host" -v -n "bench-$name" -c 2 "$@" "${files[@]}"
	"$@" >&2 || { [[ $? == 125 ]] && "$@" >&2; } || die "no result, see above"
	sed -n 's/^ *[0-9.]* SAY RESULT \?//p' "$BED_RUNS/bench-$name/host.log" | tr -d '\r'
}
