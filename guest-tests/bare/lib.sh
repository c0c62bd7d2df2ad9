# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154 # scenario, build, guests and guest are set by run
# lib.sh - start, save and load a VM, and judge what its guest printed. Sourced by run.
#
# One VM at a time in a folder of its own on tmpfs. Each process of the VM has a number: serial.N and
# log.N are its outputs; the guest's one stream of text is all serial.N joined.

. "$here/../progress.sh"

GUEST_MIB=32
COUNTER_GPA=$((0x200000))
MAILBOX_GPA=$((0x200008))

# In the simulated host a triple fault that the guest does not mean is the emulated CPU's (../bed/README.md), unless it
# was loaded or woken before, which may be our fault: exit status 125, ../with-kvm runs the test once more and counts that.
is_lost() {
	local log
	[[ ${STASIS_BED:-} && $append != *triple* ]] || return 1
	for log in "$dir"/log.*; do
		! grep -qs "triple fault" "$log" || grep -q -e "cprload: " -e "wake" "$log" || return 0
	done
	return 1
}
die() {
	local status=1
	! is_lost || status=125
	echo "FAILED: $* (${FUNCNAME[*]:1}: lines ${BASH_LINENO[*]})" >&2
	[ -d "$dir" ] && for f in "$dir"/log.* "$dir"/serial.*; do
		[ -s "$f" ] && { echo "--- ${f##*/}, last lines"; tail -n 8 "$f"; } >&2
	done
	exit $status
}

find_binary() {
	[ -x "$build/$1" ] || die "$1 is not built: run cmake --build $build"
	echo "$build/$1"
}

setup() {
	dir=$(mktemp -d /dev/shm/stasis-bare.XXXXXX)
	trap cleanup EXIT
	stasis=$(find_binary stasis)
	stasisctl=$(find_binary stasisctl)
	faulty=$(find_binary stasis-fault)
	guest_text=$(find_binary guest-text)
	pid='' process=0 append='' cpus=1 on_reset=exit memory_mib=$GUEST_MIB extra=() fault=''
	checkpoint=$dir/checkpoint ram=$dir/ram vm_name=bare-${dir##*.} # another VM than that of a test beside this one
}

cleanup() {
	jobs -p | xargs -r kill -9 2>/dev/null
	exec 8>&- 2>/dev/null
	wait 2>/dev/null
	rm -rf "$dir" ${disk_dir:+"$disk_dir"}
}

# own_tmpfs SIZE : RAM lies on a tmpfs of that size, which this scenario alone sees: the machine's own may be
# smaller. Starts the scenario again in a mount namespace, so it comes first.
own_tmpfs() {
	local user=()
	[ $EUID = 0 ] || user=(--map-root-user)
	[ "${STASIS_MOUNTS:-}" ] || {
		rm -rf "$dir"
		STASIS_MOUNTS=1 exec unshare "${user[@]}" --mount "$0" "$scenario" "$build"
	}
	ram=$dir/fs/ram
	mkdir "$dir/fs"
	trap 'umount -l "$dir/fs"; cleanup' EXIT
	mount -t tmpfs -o "size=$1" none "$dir/fs" || die "no tmpfs of its own"
}

# launch [OPTION...] : a new process of the VM, with the same arguments each time but OPTION.
# stdio=1 takes its input from the folder's FIFO, descriptor 8. stderr=FILE takes the log.
launch() {
	local serial=file:$dir/serial.$((process + 1)) in=/dev/null out binary=$stasis own args=("${extra[@]}" "$@") i
	process=$((process + 1))
	out=$dir/out.$process
	if [ "${stdio:-}" ]; then
		serial=stdio in=$dir/input out=$dir/serial.$process
		[ -p "$in" ] || { mkfifo "$in" && exec 8<>"$in"; }
	fi
	[ -z "$fault" ] || binary=$faulty
	own=(--name "$vm_name" --cpus "$cpus" --memory "size=${memory_mib}M,path=$ram" --kernel "$guests/$guest.elf"
		--append "$append" --serial "$serial" --qmp "unix:$dir/qmp" --on-reset "$on_reset")
	for ((i = 0; i < ${#own[@]}; i += 2)); do # an option comes once
		[[ " ${args[*]} " == *" ${own[i]} "* ]] || args+=("${own[@]:i:2}")
	done
	STASIS_FAULT=$fault "$binary" "${args[@]}" <"$in" >"$out" 2>"${stderr:-$dir/log.$process}" &
	pid=$!
}

alive() { kill -0 "$pid" 2>/dev/null; }

# vm_await COMMAND... : until COMMAND is true, or nothing moves any more (progress.sh)
vm_await() {
	AWAIT_OUTPUT=("$dir"/serial.* "$dir"/out.* "$dir"/log.*)
	await "$pid" "$@"
}

ctl() { "$stasisctl" --timeout "$STALL_S" "$dir/qmp" "$@"; }
qmp_up() { [ -S "$dir/qmp" ] && ctl query-status >/dev/null 2>&1; }
wait_qmp() {
	vm_await qmp_or_dead || die "no QMP"
	alive || die "no QMP: the VMM ended"
}
qmp_or_dead() { ! alive || qmp_up; }
status() { ctl query-status | tr -d ' \n' | sed 's/.*"status":"\([a-z-]*\)".*/\1/'; }

# count REGEX : lines of the guest's text so far; text : all of it
count() {
	local i files=()
	for ((i = 1; i <= process; i++)); do files+=("$dir/serial.$i"); done
	"$guest_text" "$1" "${files[@]}"
}
text() { count ''; }
ok_count() { count "^$guest [0-9]* ok"; }
has_line() { [ "$(count "$1")" -gt 0 ]; }
failed() { ! count . >/dev/null; }
die_if_failed() { ! failed || die "the guest says: $(text | grep -a ^FAIL)"; }
# at_least COUNT REGEX : or there will be no more such lines
at_least() {
	local n
	n=$(count "$2") || return 0
	[ "$n" -ge "$1" ] || ! alive
}

# wait_ok MORE : that many more ok lines
wait_ok() {
	local want=$(($(ok_count) + $1))
	vm_await at_least $want "^$guest [0-9]* ok" || die "no $1 more ok lines of $guest"
	die_if_failed
	[ "$(ok_count)" -ge $want ] || die "the VMM ended"
}
wait_line() {
	vm_await at_least 1 "$1" || die "no line '$1'"
	die_if_failed
	has_line "$1" || die "the VMM ended without a line '$1'"
}

# exits STATUS : the process ends by itself, with that status
exits() {
	local rc
	vm_await dead || die "the VMM did not end"
	wait "$pid" 2>/dev/null
	rc=$?
	pid=''
	[ "$1" = any ] || [ $rc = "$1" ] || die "exit status $rc, not $1"
}
dead() { ! alive; }

# The stream of text is that of one guest that ran on: one boot, lines counted without a gap.
check_text() {
	local boots
	boots=$(count "^BOOT $guest")
	[ "$boots" = "${1:-1}" ] || die "$boots boots, not ${1:-1}"
	die_if_failed
	text | awk -v name="$guest" '$1 == "BOOT" { n = 0 }
		$1 == name && $3 == "ok" && $2 != ++n { print "line " $2 " came where " n " was due"; exit 1 }' ||
		die "the lines of $guest have a gap"
}

# must COMMAND... : stasisctl's, which succeeds; its answer is in a file
must() { ctl "$@" >"$dir/answer" 2>&1 || die "$*: $(cat "$dir/answer")"; }
# refuses WORDS COMMAND... : it fails, and the answer says the WORDS (a regular expression)
refuses() {
	ctl "${@:2}" >"$dir/answer" 2>&1 && die "${*:2} was not refused"
	answered "$1"
}
answered() { grep -q -e "$1" "$dir/answer" || die "the answer does not say '$1': $(cat "$dir/answer")"; }
# logged WORDS : by the process that runs or ran last
logged() { grep -q -e "$1" "$dir/log.$process" || die "the log does not say '$1': $(cat "$dir/log.$process")"; }
is_status() { [ "$(status)" = "$1" ]; }
state_is() { is_status "$1" || die "run state $(status), not $1"; }
await_state() { vm_await is_status "$1" || die "run state $(status), not $1"; }

save_to_cpr_file() { must cprsave mode=restart timeout-ms=300000 "$@"; exits 0; }
save() { save_to_cpr_file "file=$checkpoint" "$@"; }
launch_up() { launch "$@"; wait_qmp; }
launch_deferred() { launch_up --incoming defer; }
load() { launch_deferred; must cprload "file=$checkpoint"; }
# reload [ARGUMENT...] : of the save
reload() { save "$@"; load; }
boot() { launch_up "$@"; wait_ok 3; }
# fails_to_start WORDS [OPTION...] : the process ends at once and its log says why
fails_to_start() { launch "${@:2}"; exits 1; logged "$1"; }
mailbox() { printf '\1' | dd of="$ram" bs=1 seek=$MAILBOX_GPA conv=notrunc status=none; }
counter() { od -An -tu8 -j $COUNTER_GPA -N 8 "$ram" | tr -d ' '; }
keep_ram() { cp "$ram" "$dir/ram.kept"; }
ram_as_kept() { cmp -s -n $((memory_mib << 20)) "$ram" "$dir/ram.kept"; } # the label is behind it
quit_vm() { ctl quit >/dev/null || die "quit failed"; exits 0; } # an answer stays to be judged
# finish [BOOTS] : ends the VM; all that its guest printed is as it should be
finish() { quit_vm; check_text "$@"; }
# goes_on [BOOTS] : the guest does, and then ends so
goes_on() { wait_ok 3; finish "$@"; }

# stands_still / moves : the guest's counter in RAM
stands_still() {
	local before
	before=$(counter)
	sleep 0.2
	[ "$(counter)" = "$before" ] || die "the guest runs although it should not"
}
moves() {
	local before
	before=$(counter)
	vm_await differs "$before" || die "the guest's counter stands still"
}
differs() { [ "$(counter)" != "$1" ]; }
