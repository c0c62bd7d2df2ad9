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
wakeup() { must --wait-event WAKEUP system_wakeup; }
# falls_asleep TIMES: as the mailbox says; an event tells of it
falls_asleep() {
	must stop
	mailbox
	must --wait-event SUSPEND cont
	asleep "$1"
}

do_sleep() {
	local i
	guest=sleep append=hold
	boot
	refuses "Unable to wake up: guest is not in suspended state" system_wakeup
	for i in 1 2 3 4 5; do
		falls_asleep $i
		wakeup
		woken $i
		wait_ok 3
	done
	mailbox
	asleep 6
	must system_powerdown
	woken 6
	goes_on
}
# A second vCPU runs before, waits for a SIPI afterwards.
do_sleep_smp() {
	local i
	guest=sleep cpus=2 append=ap
	launch_up
	for i in 1 2 3; do
		asleep $i
		wakeup
		woken $i
	done
	finish
}
do_sleep_alarm() {
	guest=sleep append=wake=alarm
	launch_up
	woken 2
	# one that rings while the guest is nowhere: not yet at the save, but before the load
	asleep 3
	save
	has_woken 2 || die "woken before the save"
	sleep 5
	load
	logged "it is suspended"
	woken 3
	finish
}
# One that rings before the guest sleeps wakes it.
do_sleep_rung() {
	guest=sleep append=wake=rung
	launch_up
	woken 2
	finish
}
# It sleeps on through stop, cont, save and load, and only a wake-up wakes it.
do_sleep_saved() {
	guest=sleep extra=(--rng --console none)
	launch_up
	asleep 1
	must stop
	state_is paused
	refuses '' system_wakeup
	must cont
	asleep 1
	reload
	asleep 1
	must cont
	asleep 1
	must stop
	reload
	state_is paused
	reload
	must cont
	asleep 1
	wakeup
	woken 1
	asleep 2
	save
	launch_up --incoming "$checkpoint" --paused
	state_is paused
	must cont
	wakeup
	woken 2
	finish
}
# As long as a device does not come to rest there is no wake-up, neither by the operator nor by the alarm; and
# then there is.
do_sleep_stuck() {
	guest=sleep append=${1:-}
	stasis=$(find_binary stasis-grown)
	export STASIS_GROWN_STUCK=$dir/stuck
	[ -z "$append" ] || touch "$dir/stuck" # the alarm does not wait for it
	launch_up
	if [ -z "$append" ]; then
		asleep 1
		touch "$dir/stuck"
		refuses "tried again: grown-isa0: .*stuck" system_wakeup
	fi
	vm_await wake_waits || die "the wake-up did not meet the device"
	asleep 1
	rm "$dir/stuck"
	woken 1
	finish
}
do_sleep_stuck_alarm() { do_sleep_stuck wake=alarm; }
wake_waits() { grep -q "wake-up: it is tried again: grown-isa0: .*stuck" "$dir/log.$process"; }
do_sleep_fault() {
	guest=sleep fault=save/fsync-folder:fail
	launch_up
	asleep 1
	refuses '' cprsave "file=$checkpoint" mode=restart
	asleep 1
	wakeup
	woken 1
	finish
}
# Reset, as by the button of a PC; and where there is nowhere to wake up, as by its firmware. It stays awake
# until told: else it may sleep again before its run state has been asked for.
do_sleep_reset() {
	guest=sleep append=hold on_reset=reset
	boot
	mailbox
	asleep 1
	must system_reset
	state_is running
	wait_ok 3
	mailbox
	asleep 2
	finish 2
}
sleep_nowhere() {
	guest=sleep append=vector=$1
	launch_up
	asleep 1
	must system_wakeup
	exits 1
	logged "no waking vector"
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
	launch_deferred
	refuses s3=off cprload "file=$checkpoint"
	quit_vm
}
