# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154,SC2120
# kexec-lib.sh - what the tests of kexec-update and kexec-resume share: real VMs with bare guests, and a
# kexec that is none: `kexec -a -l` and `kexec -e` do what the test wants, the rest is as on a host.
# Sourced with BUILD_DIR as argument.
set -uo pipefail
build=$(cd "$1" && pwd) || exit 1
here=$(cd "$(dirname "$0")" && pwd)
scripts=$here/../../scripts
. "$here/../../guest-tests/progress.sh"
work=$(mktemp -d "${STASIS_TEST_DISK:-$build}/kexec-scripts.XXXXXX") || exit 1
cd "$work" || exit 1
export PATH=$work/bin:$build:$PATH STASISCTL=$build/stasisctl
guest=$build/guest-tests/bare/counter.elf

fail() {
	echo "FAIL: $*"
	tail -n 30 "$work/out" "$work"/*.err "$work"/state/log/* 2>/dev/null
	exit 1
}
# wait_until COMMAND...: what the VMs print is progress
wait_until() {
	local AWAIT_OUTPUT=("$work"/*.out "$work"/*.err "$work"/out)
	await '' "$@"
}
ctl() { stasisctl --timeout "$STALL_S" "$@"; }
status_of() { ctl "$1.sock" --get /status query-status 2>/dev/null; }
is_status() { [[ $(status_of "$1") == "$2" ]]; }
is_running() { [[ $(status_of "$1") == running ]] || fail "$1 is not running but '$(status_of "$1")'"; }

to_kill=() # processes that would outlive the test
# clean_up: ends them, and the VMs of this test, whoever started them
clean_up() {
	local vm
	for vm in vm1 vm2 odd run/vm3 sleepy lazy kept; do
		[[ ! -S $vm.sock ]] || ctl "$vm.sock" quit >/dev/null 2>&1
	done
	[[ ${#to_kill[@]} == 0 ]] || kill "${to_kill[@]}" 2>/dev/null
	[[ ! -e /run/netns/stasis$$ ]] || ip netns del "stasis$$"
	rm -rf "$work" "/dev/shm/${work##*/}"
}
trap clean_up EXIT

# uuid_of VM: another one in each run of these tests, for two may run beside each other
uuid_of() { md5sum <<<"$work/$1" | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/'; }

# launch VM OPTION...: with RAM in a file on a disk
launch() {
	local vm=$1 append=(--append calm)
	shift
	[[ $* != *--append* ]] || append=()
	timeout -k 2 1700 stasis --name "$vm" --uuid "$(uuid_of "$vm")" --kernel "$guest" "${append[@]}" --serial "file:$work/$vm.out" \
		--memory "size=32M,path=$work/$vm.ram" --qmp "unix:$work/$vm.sock" --on-reset exit "$@" 2>"$vm.err" </dev/null &
	wait_until answers_or_ended $! "$vm.sock"
	! ended $! || fail "$vm does not start"
}
# start VM OPTION...: one whose guest runs
start() {
	launch "$@"
	counts_on "$1"
}

# start_agent VM WORDS OPTION...: a guest with an agent, which does as the words say
start_agent() { guest=$build/guest-tests/bare/agent.elf start "$1" --append "$2" --agent "unix:$work/$1.agent" "${@:3}"; }
# put_to_sleep VM: a guest that sleeps answers nothing
put_to_sleep() {
	ctl --agent "$1.agent" guest-suspend-ram >/dev/null 2>&1 &
	wait_until is_status "$1" suspended || fail "$1 does not sleep"
	kill $!
}
is_asleep() { [[ $(status_of "$1") == suspended ]] || fail "$1 is not asleep but '$(status_of "$1")'"; }
# ends VM: for good
ends() {
	local pid
	pid=$(ctl "$1.sock" --get /pid cprinfo)
	ctl "$1.sock" quit >/dev/null
	wait_until ended "$pid" || fail "$1 does not end"
	rm "$1".{ram,out}
	unset "seen[$1]"
}
was_woken() { [[ $(grep -ac woken "$1.out") == "$2" ]]; }
# woken VM TIMES: in its life
woken() {
	wait_until was_woken "$1" "$2" || fail "$1 was woken $(grep -ac woken "$1.out") times, not $2"
	is_running "$1"
	counts_on "$1"
}

# odd OPTION...: a VM that counts nothing; process $odd
odd() {
	# shellcheck disable=SC2054 # the comma is stasis's
	local ram=(--memory "size=32M,path=$work/odd.ram")
	[[ $* != *--memory* ]] || ram=()
	[[ $* == *--serial* ]] || ram+=(--serial none)
	[[ $* == *--append* ]] || ram+=(--append calm)
	stasis --name odd --uuid "$(uuid_of odd)" --kernel "$guest" --qmp "unix:$work/odd.sock" "${ram[@]}" "$@" >"$work/odd.out" 2>"$work/odd.err" </dev/null &
	odd=$!
	wait_until answers_or_ended "$odd" "$work/odd.sock"
	! ended "$odd" || fail "odd does not start"
}
answers_or_ended() { ended "$1" || ctl "$2" query-status >/dev/null 2>&1; }
ended() { ! kill -0 "$1" 2>/dev/null; }
heeds_term() { ! (($(sed -n 's/^SigIgn:\s*/0x/p' "/proc/$1/status") & 1 << 14)); }
odd_ends() {
	ctl "$work/odd.sock" quit >/dev/null
	wait_until ended "$odd" || fail "odd does not end"
	rm -f "$work/odd.ram"
}

# counter VM: the guest's own, which it checks itself, from its RAM
counter() { od -An -tu8 -j $((0x200000)) -N 8 "$1.ram" | tr -d ' '; }
has_passed() { [[ $(counter "$1") -gt $2 ]]; }
# mailbox VM: what its guest holds back goes on
mailbox() { printf '\1' | dd of="$1.ram" bs=1 seek=$((0x200000 + 8)) conv=notrunc status=none; }
declare -A seen=()
# counts_on VM: from where it was seen last
counts_on() {
	local from
	from=$(counter "$1")
	[[ $from -ge ${seen[$1]:-0} ]] || fail "the counter of $1 fell from ${seen[$1]} to $from"
	wait_until has_passed "$1" "$from" || fail "$1 does not count on from $from"
	seen[$1]=$(counter "$1")
	[[ $(grep -ac BOOT "$1.out") -le 1 ]] || fail "$1 booted again"
	! grep -a FAIL "$1.out" || fail "$1 found a fault"
}
both_count_on() {
	is_running vm1
	is_running vm2
	counts_on vm1
	counts_on vm2
}

# fake_kexec ON_LOAD ON_EXECUTE: shell text
fake_kexec() {
	cat >bin/kexec <<-END
		#!/bin/bash
		printf '%s\\n' "\$*" >>"$work/kexec.log"
		[[ \$1 != -a ]] || shift
		case \$1 in
		-l) $1 ;;
		-e) $2 ;;
		esac
	END
	chmod +x bin/kexec
	: >kexec.log
}
# update_alone ...: the VMs of other tests on this machine count as well; update ...: they do not
command=("$scripts/kexec-update" --kernel kernel --initrd initrd --state-dir state --answer-timeout 300)
update_alone() { timeout -k 2 "$LIMIT_S" "${command[@]}" "$@" >out 2>&1; }
update() { update_alone --others-die "$@"; }
# resume OPTION...
resume() { timeout -k 2 "$LIMIT_S" "$scripts/kexec-resume" --state-dir state --answer-timeout 300 "$@" >out 2>&1; }
says_not() { ! grep -qF -e "$1" out || fail "says '$1'"; }
says() { grep -qF -e "$1" out || fail "does not say '$1'"; }
# lasted WORDS: so many seconds, and no more than all of it took
lasted() {
	local seconds
	seconds=$(sed -n "s/.*$1 \([0-9]*\)\.[0-9][0-9].*/\1/p" out)
	[[ -n $seconds && $seconds -le $took ]] || fail "says that '$1' took '$seconds' s of $took s"
}
calls() { [[ $(sed 's/^-a //' kexec.log | cut -c 1-2 | tr -d '\n') == "$1" ]] || fail "calls of kexec: $(cat kexec.log), not $1"; }

mkdir bin own
printf HdrS | dd of=kernel bs=1 seek=$((0x202)) status=none # a bzImage's magic
printf 070701 >initrd                                       # and cpio's
fake_kexec true false

start vm1 --rng --discard-saved
start vm2 --cpr-file "$work/own/checkpoint"
