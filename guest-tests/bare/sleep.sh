# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of lib.sh
# sleep.sh - a guest that sleeps (ACPI S3) and what wakes it. Sourced by run.

slept() { [ "$(count '^sleeps')" = "$1" ] && is_status suspended; }
# asleep TIMES : it has gone to sleep for that many times, and stays so
asleep() {
	vm_await slept "$1" || die "run state $(status) after $(count '^sleeps') sleeps, not asleep $1 times"
	stands_still
}
# woken TIMES
woken() {
	vm_await has_woken "$1" || die "run state $(status), not awake $1 times"
	die_if_failed
}
has_woken() { failed || [ "$(count '^woken')" -ge "$1" ]; }
# wakeup: an event tells of it
wakeup() { ctl --wait-event WAKEUP system_wakeup >"$dir/answer" || die "system_wakeup: $(cat "$dir/answer")"; }
# falls_asleep TIMES: as the mailbox says; an event tells of it
falls_asleep() {
	ctl stop >/dev/null || die "stop failed"
	mailbox
	ctl --wait-event SUSPEND cont >"$dir/answer" || die "no event SUSPEND: $(cat "$dir/answer")"
	asleep "$1"
}

do_sleep() {
	local i
	guest=sleep append=hold
	boot
	ctl system_wakeup >"$dir/answer" 2>&1 && die "woke a guest that is awake"
	grep -q "Unable to wake up: guest is not in suspended state" "$dir/answer" || die "says $(cat "$dir/answer")"
	for i in 1 2 3 4 5; do
		falls_asleep $i
		wakeup
		woken $i
		wait_ok 3
	done
	mailbox
	asleep 6
	ctl system_powerdown >/dev/null || die "system_powerdown failed"
	woken 6
	wait_ok 3
	quit_vm
	check_text
}
# A second vCPU runs before, waits for a SIPI afterwards.
do_sleep_smp() {
	local i
	guest=sleep cpus=2 append=ap
	launch
	wait_qmp
	for i in 1 2 3; do
		asleep $i
		wakeup
		woken $i
	done
	quit_vm
	check_text
}
do_sleep_alarm() {
	guest=sleep append=wake=alarm
	launch
	wait_qmp
	woken 2
	# one that rings while the guest is nowhere: not yet at the save, but before the load
	asleep 3
	save
	has_woken 2 || die "woken before the save"
	sleep 5
	load
	grep -q "it is suspended" "$dir/log.$process" || die "did not sleep at the save"
	woken 3
	quit_vm
	check_text
}
# One that rings before the guest sleeps wakes it.
do_sleep_rung() {
	guest=sleep append=wake=rung
	launch
	wait_qmp
	woken 2
	quit_vm
	check_text
}
# It sleeps on through stop, cont, save and load, and is woken by nothing but a wake-up.
do_sleep_saved() {
	guest=sleep extra=(--rng --console none)
	launch
	wait_qmp
	asleep 1
	ctl stop >/dev/null || die "stop failed"
	[ "$(status)" = paused ] || die "run state $(status) after stop"
	ctl system_wakeup >/dev/null 2>&1 && die "woke a guest that is stopped"
	ctl cont >/dev/null || die "cont failed"
	asleep 1
	save
	load
	asleep 1
	ctl cont >/dev/null || die "cont failed"
	asleep 1
	ctl stop >/dev/null || die "stop failed"
	save
	load
	[ "$(status)" = paused ] || die "run state $(status) after the load"
	save
	load
	ctl cont >/dev/null || die "cont failed"
	asleep 1
	wakeup
	woken 1
	asleep 2
	save
	launch --incoming "$checkpoint" --paused
	wait_qmp
	[ "$(status)" = paused ] || die "run state $(status) in spite of --paused"
	ctl cont >/dev/null || die "cont failed"
	wakeup
	woken 2
	quit_vm
	check_text
}
# As long as a device does not come to rest there is no wake-up, neither by the operator nor by the alarm; and
# then there is.
do_sleep_stuck() {
	guest=sleep append=${1:-}
	stasis=$(find_binary stasis-grown)
	export STASIS_GROWN_STUCK=$dir/stuck
	[ -z "$append" ] || touch "$dir/stuck" # the alarm does not wait for it
	launch
	wait_qmp
	if [ -z "$append" ]; then
		asleep 1
		touch "$dir/stuck"
		ctl system_wakeup >"$dir/answer" 2>&1 && die "woken in spite of a device that does not rest"
		grep -q "tried again: grown-isa0: .*stuck" "$dir/answer" || die "says $(cat "$dir/answer")"
	fi
	vm_await wake_waits || die "the wake-up did not meet the device"
	asleep 1
	rm "$dir/stuck"
	woken 1
	quit_vm
	check_text
}
do_sleep_stuck_alarm() { do_sleep_stuck wake=alarm; }
wake_waits() { grep -q "wake-up: it is tried again: grown-isa0: .*stuck" "$dir/log.$process"; }
do_sleep_fault() {
	guest=sleep fault=save/fsync-folder:fail
	launch
	wait_qmp
	asleep 1
	ctl cprsave "file=$checkpoint" mode=restart >/dev/null 2>&1 && die "cprsave in spite of $fault"
	asleep 1
	wakeup
	woken 1
	quit_vm
	check_text
}
# Reset, as by the button of a PC; and where there is nowhere to wake up, as by its firmware. It stays awake
# until told: else it may sleep again before its run state has been asked for.
do_sleep_reset() {
	guest=sleep append=hold on_reset=reset
	boot
	mailbox
	asleep 1
	ctl system_reset >/dev/null || die "system_reset failed"
	[ "$(status)" = running ] || die "run state $(status) after a reset"
	wait_ok 3
	mailbox
	asleep 2
	quit_vm
	check_text 2
}
sleep_nowhere() {
	guest=sleep append=vector=$1
	launch
	wait_qmp
	asleep 1
	ctl system_wakeup >/dev/null || die "system_wakeup failed"
	exits 1
	grep -q "no waking vector" "$dir/log.1" || die "the log does not say why it was reset"
}
do_sleep_nowhere() { sleep_nowhere none; }
do_sleep_high() { sleep_nowhere high; }
do_sleep_off() {
	guest=sleep extra=(--machine s3=off)
	boot
	has_line "^no S3" || die "ACPI has S3 in spite of s3=off"
	[ "$(ctl --get /wakeup-suspend-support query-current-machine)" = false ] || die "query-current-machine"
	save
	extra=()
	launch --incoming defer
	wait_qmp
	ctl cprload "file=$checkpoint" >"$dir/answer" 2>&1 && die "loaded with another s3="
	grep -q s3=off "$dir/answer" || die "the refusal does not name s3=off: $(cat "$dir/answer")"
	quit_vm
}
