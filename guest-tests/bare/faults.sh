# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of lib.sh
# faults.sh - saves and loads that fail or are killed at each of their steps. Sourced by run.

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

fault_save() {
	local step
	for step in $(steps save); do
		fresh
		fault="save/$step:$1"
		boot
		ctl cprsave "file=$checkpoint" mode=restart >/dev/null 2>&1 && die "cprsave in spite of $fault"
		[ "$(status)" = running ] || die "$fault: run state $(status)"
		[ -e "$checkpoint" ] && die "$fault: a checkpoint was left behind"
		wait_ok 3
		no_jump 0
		save
		fault=''
		load
		wait_ok 3
		no_jump 0
		quit_vm
		check_text
		echo "$step: undone, saved at the second try"
	done
}
do_fault_save() { fault_save fail; }
do_fault_save_after() { fault_save fail-after; }
# fault_load_at FAULT GUEST RAM_CHECK
fault_load_at() {
	local hash
	fresh
	guest=$2
	boot
	save "ram-check=$3"
	hash=$(ram_hash)
	fault="load/$1"
	launch --incoming defer
	wait_qmp
	ctl cprload "file=$checkpoint" >/dev/null 2>&1 && die "cprload in spite of $fault"
	[ "$guest" = clock ] || [ "$(ram_hash)" = "$hash" ] || die "$fault: a failed load changed RAM"
	ctl cprload "file=$checkpoint" >/dev/null || die "$fault: the second try failed"
	wait_ok 3
	quit_vm
	check_text
}
# With a guest of which not a byte may change, and with one for which KVM itself writes to RAM. That
# is the very end of the last step: had it been done and the load failed, this RAM would have another
# hash, and its guest be none the worse.
fault_load() {
	local step check all
	all=$(steps load)
	for step in $all; do
		check=full
		[ "$step:$1" = "${all##*[[:space:]]}:fail-after" ] && check=none
		fault_load_at "$step:$1" counter full
		fault_load_at "$step:$1" clock $check
		no_jump 0
		echo "$step: RAM unchanged, loaded at the second try"
	done
}
do_fault_load() { fault_load fail; }
do_fault_load_after() { fault_load fail-after; }

# The same with a device at work, where it is stopped and started again: no request is lost or doubled.
do_fault_devices() {
	local at
	for at in save/pause-devices:fail-after save/fsync-folder:fail load/commit:fail-after load/late:fail; do
		fresh
		guest=rng append="mode=msix indirect event" extra=(--rng --console none)
		[[ $at == load/* ]] || fault=$at
		boot
		if [ -n "$fault" ]; then
			ctl cprsave "file=$checkpoint" mode=restart >/dev/null 2>&1 && die "cprsave in spite of $fault"
			wait_ok 1
		fi
		save
		[[ $at == save/* ]] || fault=$at
		launch --incoming defer
		wait_qmp
		[[ $at == save/* ]] || ! ctl cprload "file=$checkpoint" >/dev/null 2>&1 || die "cprload in spite of $fault"
		ctl cprload "file=$checkpoint" >/dev/null || die "$at: cprload failed"
		wait_ok 2
		quit_vm
		check_text
		echo "$at: the requests went on"
	done
}
# After a kill: what does a new process make of it? It loads by itself, boots, or waits for cprload.
outcome() {
	launch
	wait_qmp
	if [ "$(status)" = inmigrate ]; then
		stands_still
		ctl cprload "file=$checkpoint" >/dev/null || die "$killed: RAM is labelled saved, its checkpoint does not load"
		wait_ok 3
		check_text
		outcome=loads
	elif [ "$(status)" != running ]; then
		die "$killed: run state $(status)"
	elif grep -q "$checkpoint.new holds the guest" "$dir/log.$process"; then
		[ -e "$checkpoint" ] && die "$killed: two files for one guest"
		wait_ok 3
		outcome="loads what was not yet renamed"
		ctl cprsave mode=restart >/dev/null || die "$killed: its file is in the way of the next cprsave"
		exits 0
		launch
		wait_ok 3
		check_text
	elif ! grep -qi "without a save" "$dir/log.$process"; then
		[ -e "$checkpoint" ] || die "$killed: boots and does not say what was lost"
		wait_ok 3
		check_text
		outcome=loads
	else
		[ -e "$checkpoint" ] && ctl cprload "file=$checkpoint" >/dev/null 2>&1 && die "$killed: loaded over a boot"
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
	ctl cprsave mode=restart >/dev/null 2>&1 && die "cprsave in spite of $fault"
	exits 137
	fault='' committed=''
	[ -e "$checkpoint" ] && committed=1
	outcome
	[ -z "$committed" ] || [ "$outcome" = loads ] || die "$killed: past the commit point, but it $outcome"
	outcomes+="$outcome; "
	echo "$1: $outcome"
}
do_kill_save() {
	local step killed committed outcomes=''
	for step in $(steps save); do
		kill_save_at "$step:kill"
	done
	[[ $outcomes == *"not yet renamed"* ]] || die "no kill came between label and rename"
	kill_save_at "$step:kill-after"
	[ -n "$committed" ] || die "the last step of the save does not commit"
}
do_kill_load() {
	local step killed
	for step in $(steps load); do
		fresh
		boot
		save
		fault="load/$step:kill" killed=$fault
		launch --incoming defer
		wait_qmp
		ctl cprload "file=$checkpoint" >/dev/null 2>&1 && die "cprload in spite of $fault"
		exits 137
		fault=''
		outcome
		echo "$step: $outcome"
	done
}
