# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2016,SC2034,SC2054 # awk's $, variables of others, commas of -M
# lib.sh - the subjects of bench and the statistics. Sourced by launch, blackout, memory, sizes and run, and by
# scenario-kexec inside the simulated host.
#
# BENCH_ROUNDS    rounds a subject and size (11); those with SeaBIOS get a third
# BENCH_SIZES     guest RAM in MiB ("256 4096 16384")
# BENCH_SUBJECTS  which VMMs (all); stasis-devices has a disk (cache=none, a file on the build folder's disk), a
#                 network card on a tap, console, agent port and entropy, all in use by its guest
# BED_CACHE       where guest-tests/bed/get put QEMU (~/.cache/stasis-bed)
set -euo pipefail
bench=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
rounds=${BENCH_ROUNDS:-11}
sizes=${BENCH_SIZES:-256 4096 16384}
subjects=${BENCH_SUBJECTS:-floor floor-pit stasis stasis-devices stasis-pit qemu-lite qemu-microvm qemu-q35}
qemu_root=${BED_CACHE:-$HOME/.cache/stasis-bed}/root
counter_gpa=$((0x200000)) # guest-tests/bare/rt.ld
tap=stasis0
vmm='' # a VMM that ends with the script

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# need_kvm BUILD_DIR: ends the script where no VM can run
need_kvm() {
	local reason
	[ -x "$1/kvm-usable" ] || die "no $1/kvm-usable: run cmake --build $1"
	reason=$("$1/kvm-usable") ||
		die "$reason: bench/run --bed BUILD_DIR measures in a simulated host that has a usable one"
}

# where KERNEL... : what is measured on, as a line of markdown. BENCH_MACHINE is what a simulated host runs on
where() {
	local kvm="the kernel itself" machine module
	machine="this machine, load $(cut -d ' ' -f 1 /proc/loadavg) at the start"
	[ -z "${BENCH_MACHINE-}" ] || machine="the simulated host, on a machine of $BENCH_MACHINE at the start"
	for module in /sys/module/kvm?*; do
		[ ! -e "$module" ] || kvm=${module##*/}
	done
	echo "Measured on $machine: Linux $*, /dev/kvm of $kvm, $(nproc) CPUs" \
		"($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1))"
}

# bench_setup BUILD_DIR : binaries, and a tmpfs of huge pages for RAM in $dir
bench_setup() {
	[ -d "$1" ] || die "use: ${0##*/} BUILD_DIR"
	need_kvm "$1"
	build=$(cd "$1" && pwd)
	measure=$(find_binary bench/measure) floor=$(find_binary bench/floor)
	kernel=$build/guest-tests/bare/counter.elf
	[ -f "$kernel" ] || die "no $kernel: run cmake --build $build"
	case $subjects in *stasis*) stasis=$(find_binary stasis) ;; esac
	case $subjects in *qemu*) [ -x "$qemu_root/usr/bin/qemu-system-x86_64-microvm" ] ||
		die "no QEMU in $qemu_root: run guest-tests/bed/get" ;; esac
	dir=$(mktemp -d "${TMPDIR:-/tmp}/stasis-bench.XXXXXX")
	disk=$build/bench-disk
	mkdir -p "$disk"
	trap bench_cleanup EXIT
	case $subjects in *stasis-devices*)
		truncate -s 64M "$disk/image"
		ip tuntap add dev $tap mode tap vnet_hdr || die "no tap: bench wants root and iproute2"
		ip link set $tap up
		;;
	esac
	mount -t tmpfs -o huge=always,size=20g stasis-bench "$dir" || die "cannot mount a tmpfs: bench wants root"
}

bench_cleanup() {
	[ -z "$vmm" ] || kill -9 "$vmm" 2>/dev/null || :
	umount "$dir" 2>/dev/null && rmdir "$dir"
	rm -rf "$disk"
	ip link del $tap 2>/dev/null || :
}

find_binary() {
	[ -x "$build/$1" ] || die "$1 is not built: run cmake --build $build"
	echo "$build/$1"
}

rounds_of() {
	case $1 in qemu-microvm | qemu-q35) echo $(((rounds + 2) / 3)) ;; *) echo "$rounds" ;; esac
}

qemu_command() {
	local machine=$1 binary=qemu-system-x86_64 bios=()
	shift
	case $machine in *pit=off*) binary=qemu-system-x86_64-microvm bios=(-bios qboot.rom) ;; esac
	cmd=("$qemu_root/lib64/ld-linux-x86-64.so.2" --library-path
		"$qemu_root/lib/x86_64-linux-gnu:$qemu_root/usr/lib/x86_64-linux-gnu"
		"$qemu_root/usr/bin/$binary" -L "$qemu_root/usr/share/qemu" -L "$qemu_root/usr/share/seabios"
		-M "$machine,accel=kvm,memory-backend=ram" "${bios[@]}" -cpu host,-arch-capabilities -m "${mib}M"
		-object "memory-backend-file,id=ram,mem-path=$ram,share=on,size=${mib}M${offset:+,offset=$offset,align=2M}"
		-kernel "$kernel" -append quiet -nodefaults -no-user-config -display none
		-serial stdio -qmp "unix:$socket,server=on,wait=off" "$@")
}

# command_of SUBJECT MIB boot|load [VM RAM OFFSET] : sets cmd, how, ram, socket; checkpoint is the caller's. Of several
# VMs each has a name, and its RAM at its own place of a device
command_of() {
	local subject=$1 phase=$3 vm=${4-} offset=${6-} fsync=()
	mib=$2 ram=${5-$dir/ram} socket=$dir/qmp$vm
	case ${checkpoint:=$dir/checkpoint} in "$disk"/*) fsync=(--fsync) ;; esac
	case $subject in
	floor | floor-pit)
		how=signal
		cmd=("$floor" "${fsync[@]}" --save "$checkpoint")
		[ "$subject" = floor ] || cmd+=(--pit)
		[ "$phase" = boot ] || cmd+=(--load "$checkpoint")
		cmd+=("$ram" $((mib << 20)) "$kernel" quiet)
		;;
	stasis | stasis-devices | stasis-pit)
		how=stasis
		cmd=("$stasis" --name "bench$vm" --memory "size=${mib}M,path=$ram${offset:+,offset=$offset}"
			--kernel "$kernel" --serial stdio --qmp "unix:$socket" --machine "pit=$([ "$subject" = stasis-pit ] && echo on || echo off)")
		[ "$subject" = stasis-devices ] || cmd+=(--append quiet)
		[ "$subject" != stasis-devices ] || cmd+=(--append "quiet devices" --disk "path=$disk/image,cache=none"
			--net "tap=$tap" --console "unix:$dir/console" --agent "unix:$dir/agent" --rng)
		[ "$phase" = boot ] || cmd+=(--incoming "$checkpoint")
		;;
	qemu-*)
		how=qemu
		local machine=q35
		[ "$subject" = qemu-microvm ] && machine=microvm
		[ "$subject" = qemu-lite ] && machine=microvm,pit=off,pic=off,rtc=off
		if [ "$phase" = boot ]; then qemu_command $machine; else qemu_command $machine -incoming defer; fi
		;;
	*) die "no subject $subject" ;;
	esac
}

# each_round FUNCTION : FUNCTION SUBJECT MIB for every size, the subjects in turn, round by round
each_round() {
	local mib round subject
	for mib in $sizes; do
		for ((round = 1; round <= rounds; round++)); do
			for subject in $subjects; do
				[ $round -le "$(rounds_of "$subject")" ] || continue
				rm -f "$dir"/{ram,checkpoint,checkpoint.loaded,qmp} "$disk"/checkpoint{,.loaded}
				"$1" "$subject" "$mib"
				progress "$mib MiB, round $round of $rounds, $subject"
			done
		done
	done
	progress ''
}

# A simulated host's console is its scenario's, which shows what begins with SAY
progress() {
	[ -z "${BENCH_MACHINE-}" ] || [ -z "$1" ] || echo "SAY ${0##*/}: $1" >/dev/console
	[ ! -t 2 ] || printf '\r%-70s\r%s' '' "${1:+${0##*/}: $1}" >&2
}

# sorted, with a median function, for the awk programs below
statistics='
	{ k = $1 " " $2; n[k]++; for (c = 3; c <= NF; c++) v[k, c, n[k]] = $c }
	function sort(k, c, i, j, x) {
		for (i = 2; i <= n[k]; i++) {
			x = v[k, c, i]
			for (j = i - 1; j && v[k, c, j] > x; j--) v[k, c, j + 1] = v[k, c, j]
			v[k, c, j + 1] = x
		}
	}
	function median(k, c, m) {
		sort(k, c); m = n[k]
		return m % 2 ? v[k, c, (m + 1) / 2] : (v[k, c, m / 2] + v[k, c, m / 2 + 1]) / 2
	}
	function heads(title, j, line, rule) {
		line = "| " title " |"; rule = "|---|"
		for (j = 1; j <= nz; j++) {
			line = line " " (z[j] < 1024 ? z[j] " MiB" : z[j] / 1024 " GiB") " |"
			rule = rule "---|"
		}
		print line; print rule
	}
	function rows(i, j, line) {
		for (i = 1; i <= ns; i++) {
			line = "| " s[i] " |"
			for (j = 1; j <= nz; j++)
				line = line " " (n[s[i] " " z[j]] ? cell(s[i] " " z[j], "floor " z[j]) : "–") " |"
			print line
		}
	}'

# table FILE TITLE : lines "subject mib us" as markdown, in ms, with the ratio to the floor of that size
table() {
	awk -v subjects="$subjects" -v sizes="$sizes" -v title="$2" "$statistics"'
		function cell(k, f, m, text) {
			m = median(k, 3)
			text = sprintf("%.1f (%.1f–%.1f)", m / 1000, v[k, 3, 1] / 1000, v[k, 3, n[k]] / 1000)
			return n[f] ? text sprintf(" ×%.1f", m / median(f, 3)) : text
		}
		END { ns = split(subjects, s, " "); nz = split(sizes, z, " "); heads(title); rows() }' "$1"
}

# table_of_parts FILE TITLE : lines "subject mib us us ..." as the medians of each part, in ms
table_of_parts() {
	awk -v subjects="$subjects" -v sizes="$sizes" -v title="$2" "$statistics"'
		{ columns = NF }
		function cell(k, f, c, text) {
			for (c = 3; c <= columns; c++)
				text = text (c > 3 ? " + " : "") sprintf("%.1f", median(k, c) / 1000)
			return text
		}
		END { ns = split(subjects, s, " "); nz = split(sizes, z, " "); heads(title); rows() }' "$1"
}
