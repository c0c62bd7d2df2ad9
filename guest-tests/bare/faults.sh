# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of lib.sh
# faults.sh - saves and loads that fail or are killed at each of their steps, or of which any one call fails. Sourced
# by run.

# steps TABLE : the names of the steps of a table, from the build with fault injection
steps() {
	STASIS_FAULT=list "$(find_binary stasis-fault)" 2>/dev/null | sed -n "s,^$1/,,p" >"$dir/steps"
	[ -s "$dir/steps" ] || die "stasis-fault lists no steps of $1"
	cat "$dir/steps"
}
fresh() {
	[ -n "$pid" ] && { kill -9 "$pid"; wait "$pid" 2>/dev/null; }
	rm -rf "${dir:?}"/*
	pid='' process=0 fault='' guest=clock
}

# faults TABLE HOW : each step of a table made to fail, in turn, as STASIS_FAULT takes it
faults() { steps "$1" | sed "s,.*,$1/&:$2," | tr '\n' ',' | sed 's/,$//'; }
# fails_at TABLE STEP COMMAND... : the command fails, and because of that step
fails_at() {
	local at=$1/$2
	shift 2
	refuses "$at: made to fail" "$@"
}

fault_save() {
	local step
	fresh
	fault=$(faults save "$1")
	[ "$fault" ] || die "no faults to inject"
	boot
	mark_clock
	for step in $(steps save); do
		fails_at save "$step" cprsave "file=$checkpoint" mode=restart
		state_is running
		[ -e "$checkpoint" ] && die "save/$step:$1: a checkpoint was left behind"
		wait_ok 2
		no_jump 0
		echo "$step: undone, the guest goes on"
	done
	save
	fault=''
	load
	wait_ok 3
	no_jump 0
	finish
}
do_fault_save() { fault_save fail; }
do_fault_save_after() { fault_save fail-after; }
# fault_load GUEST RAM_CHECK FAULT,FAULT... : loads that fail one after another, then one that does not
fault_load() {
	local at
	[ "$3" ] || die "no faults to inject"
	fresh
	guest=$1 memory_mib=8 # all of it is hashed for each load
	boot
	[ "$guest" = counter ] || mark_clock
	save "ram-check=$2"
	keep_ram
	fault=$3
	launch_deferred
	for at in ${fault//,/ }; do
		at=${at%:*}
		fails_at load "${at#load/}" cprload "file=$checkpoint"
		[ "$guest" = clock ] || ram_as_kept || die "$at: a failed load changed RAM"
		echo "$at: undone, $guest"
	done
	must cprload "file=$checkpoint"
	wait_ok 3
	[ "$guest" = counter ] || no_jump 0
	finish
}
# With a guest of which not a byte may change, and with one for which KVM itself writes to RAM; of that one the last
# load compares RAM with the hash in the checkpoint. KVM's write is the very end of the last step: had it been
# done and the load failed, this RAM would have another hash, and its guest be none the worse.
do_fault_load() {
	fault_load counter full "$(faults load fail)"
	fault_load clock full "$(faults load fail)"
}
do_fault_load_after() {
	local all
	all=$(faults load fail-after)
	fault_load counter full "$all"
	fault_load clock full "${all%,*}"
	fault_load clock none "${all##*,}"
}

# The same with a device at work, where it is stopped and started again: no request is lost or doubled.
do_fault_devices() {
	local at
	for at in save/pause-devices:fail-after save/fsync-folder:fail load/commit:fail-after load/late:fail; do
		fresh
		guest=rng append="mode=msix indirect event" extra=(--rng --console none)
		[[ $at == load/* ]] || fault=$at
		boot
		if [ -n "$fault" ]; then
			refuses '' cprsave "file=$checkpoint" mode=restart
			wait_ok 1
		fi
		save
		[[ $at == save/* ]] || fault=$at
		launch_deferred
		[[ $at == save/* ]] || ! ctl cprload "file=$checkpoint" >/dev/null 2>&1 || die "cprload in spite of $fault"
		must cprload "file=$checkpoint"
		wait_ok 2
		finish
		echo "$at: the requests went on"
	done
}
# After a kill: what does a new process make of it? It loads by itself, boots, or waits for cprload.
outcome() {
	launch_up
	if [ "$(status)" = inmigrate ]; then
		stands_still
		must cprload "file=$checkpoint"
		wait_ok 3
		check_text
		outcome=loads
	elif [ "$(status)" != running ]; then
		die "$killed: run state $(status)"
	elif ! grep -qi "without a save" "$dir/log.$process"; then
		[ -e "$checkpoint.loaded" ] || die "$killed: boots and does not say what was lost"
		wait_ok 3
		check_text
		outcome=loads
	else
		[ -e "$checkpoint" ] && refuses '' cprload "file=$checkpoint"
		wait_ok 3
		check_text 2
		outcome=boots
	fi
	quit_vm
}
kill_save_at() {
	fresh
	fault="save/$1" killed=$fault extra=(--cpr-file "$checkpoint")
	boot
	refuses '' cprsave mode=restart
	exits 137
	fault=''
	[ ! -e "$checkpoint" ] || renamed=1
	outcome
	[ "$outcome" = "$2" ] || die "$killed: the guest $outcome"
	echo "$1: $outcome"
	# Whatever a kill has left is not in the way of the next save.
	boot
	save_to_cpr_file
}
# The last step commits, and no other: that of the label.
do_kill_save() {
	local step killed renamed=''
	for step in $(steps save); do
		kill_save_at "$step:kill" boots
	done
	[ "$renamed" ] || die "no kill came between rename and label"
	kill_save_at "$step:kill-after" loads
}
do_kill_load() {
	local step killed
	for step in $(steps load); do
		fresh
		boot
		save
		fault="load/$step:kill" killed=$fault
		launch_deferred
		refuses '' cprload "file=$checkpoint"
		exits 137
		fault=''
		outcome
		echo "$step: $outcome"
	done
}

# inject MODE STEP GUEST COMMAND_LINE : each call of a save and of a load fails in turn, with all devices that this host
# can give; of kinds with many calls every STEPth. RAM is on a disk, where there is most to fail.
inject() {
	local files devices=(--rng --console "file:$dir/console" --agent "unix:$dir/agent")
	fresh
	guest=$3 append=$4 memory_mib=8
	files=$(mktemp -d "${STASIS_TEST_DISK:-/var/tmp}/stasis-bare.XXXXXX") || die "no folder on a disk"
	disk_dir=$files
	truncate -s 512K "$files/disk" || die "no disk"
	devices+=(--disk "path=$files/disk,cache=writeback,queues=2,queue-size=64,serial=BARE")
	"$(find_binary net-peer)" "unix:$dir/net" >"$dir/peer" &
	vm_await peer_ready "unix:$dir/net" || die "net-peer: $(cat "$dir/peer")"
	devices+=(--net "stream=unix:$dir/net")
	if [ -c /dev/vhost-vsock ]; then
		devices+=(--vsock cid=4711)
	else
		echo "without vsock: this host has no /dev/vhost-vsock"
	fi
	# A sanitizer wants to come first, and finds all that it needs without.
	ASAN_OPTIONS=verify_asan_link_order=0 "$(find_binary fail-each)" "$dir" "$files" "$1" "$memory_mib" "$2" \
		"$build/fail-nth.so" "$stasis" --name bare --memory "size=${memory_mib}M,path=$files/ram" \
		--kernel "$guests/$guest.elf" --append "$append" --qmp "unix:$dir/qmp" "${devices[@]}" >"$dir/injected" ||
		die "mode=$1: $(grep -a WRONG "$dir/injected")"
	process=$(sed -n 's/^processes //p' "$dir/injected")
	check_text
	grep -v '^processes' "$dir/injected"
	kill $! && rm -rf "$files"
}
do_inject() { inject reboot 8 counter "devices calm"; }
do_inject_all() {
	inject reboot 1 counter "devices calm"
	inject restart 1 counter "devices calm"
	inject reboot 1 blk "mode=msix indirect event" # with requests on their way
}

# A save that hashes much RAM, which is sparse, is seen by others and ended by one of them; and its time limit holds
# in the midst of the hash.
hashes() { ctl query-cpr >"$dir/query" && grep -q hash-ram "$dir/query"; }
do_save_cancelled() {
	local saver
	own_tmpfs 70G
	guest=counter memory_mib=65536
	boot
	ctl cprsave "file=$checkpoint" mode=restart ram-check=full timeout-ms=86400000 >"$dir/saver" 2>&1 &
	saver=$!
	vm_await hashes || die "no save to be seen: $(cat "$dir/saver")"
	[ "$(ctl query-cpr --get /operation)" = cprsave ] || die "query-cpr: $(cat "$dir/query")"
	[ "$(ctl query-cpr --get /total)" = $((memory_mib << 20)) ] || die "query-cpr: $(cat "$dir/query")"
	refuses "quit: a cprsave is under way" quit
	must cpr-cancel
	wait $saver && die "a cancelled save succeeded"
	mv "$dir/saver" "$dir/answer"
	answered "cprsave was cancelled by cpr-cancel in step hash-ram"
	state_is running
	[ "$(ctl query-cpr --get /operation)" = none ] || die "query-cpr after the end"
	[ -e "$checkpoint" ] && die "a checkpoint was left behind"
	wait_ok 2
	refuses "passed in step hash-ram" cprsave "file=$checkpoint" mode=restart ram-check=full timeout-ms=200
	wait_ok 2
	finish
}
