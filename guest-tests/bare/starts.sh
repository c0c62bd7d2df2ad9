# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of lib.sh
# starts.sh - starts that are refused, and those that are only looked at (--check). Sourced by run.

# other_vm OPTION... : a VM of the same name, in other RAM, which is refused; its lock's path in $lock
other_vm() {
	"$stasis" --name "$vm_name" --kernel "$guests/counter.elf" --serial none "$@" </dev/null >"$dir/other" 2>&1 &&
		die "two VMs of one identity run"
	lock=$(sed -n 's/.*has the lock \([^;]*\.lock\);.*/\1/p' "$dir/other")
	[ -f "$lock" ] || die "the refusal names no lock: $(cat "$dir/other")"
}
do_identity() {
	guest=counter
	boot
	other_vm
	other_vm --memory "size=32M,path=$dir/other.ram"
	[ ! -e "$dir/other.ram" ] || die "a VM that is refused makes RAM"
	moves
	save
	[ ! -e "$lock" ] || die "a saved VM leaves its lock"
	load
	wait_ok 3
	other_vm
	kill -9 "$pid"
	exits any
	[ -e "$lock" ] || die "who removed $lock?"
	boot
	quit_vm
	[ ! -e "$lock" ] || die "a VM that was ended leaves its lock"
	check_text 2
}
# checks STATUS WORDS [OPTION...] : so says --check with the same arguments and these, and all files are as they were
checks() {
	local before running=$pid
	before=$(all_files)
	launch --check "${@:3}"
	exits "$1"
	cat "$dir/out.$process" "$dir/log.$process" >"$dir/answer"
	answered "$2"
	[ "$(all_files)" = "$before" ] || die "--check changes files: $before; $(all_files)"
	process=$((process - 1)) pid=$running
}
all_files() {
	find "$dir" -mindepth 1 ! -name 'out.*' ! -name 'log.*' ! -name answer ! -name other -exec stat -c '%n %s %y %a %i' {} + | sort
	[ ! -e "${lock:-}" ] || echo "$lock"
}
do_check() {
	guest=counter extra=(--cpr-file "$checkpoint" --console "unix:$dir/console" --agent "unix:$dir/agent" --rng)
	truncate -s 1M "$dir/disk"
	: >"$dir/file"
	ln -s none "$dir/link"
	extra+=(--disk "path=$dir/disk,cache=writeback")
	checks 0 "a start would boot, in new RAM $dir/ram"
	checks 1 "$dir/none: No such file" --kernel "$dir/none"
	checks 1 "--qmp unix:$dir/file: exists and is not a socket" --qmp "unix:$dir/file"
	checks 1 "--qmp unix:$dir/none/q: its folder does not exist: make it first" --qmp "unix:$dir/none/q"
	checks 1 "--qmp and --console are both given $dir/console" --qmp "unix:$dir/console"
	checks 1 "--agent and --disk are both given $dir/agent" --disk "path=$dir/agent"
	checks 1 "$dir/link: is a symbolic link that leads nowhere" --memory "size=32M,path=$dir/link"
	checks 1 "--serial $dir/none/s: its folder does not exist" --serial "file:$dir/none/s"
	truncate -s $(((32 << 20) + 8192)) "$dir/foreign"
	checks 0 "a start would boot; RAM $dir/foreign has no label of this VM: all that is in it is overwritten" \
		--memory "size=32M,path=$dir/foreign"
	rm "$dir/foreign"
	checks 1 "disk $dir/none: No such file" --disk "path=$dir/none"
	checks 1 "RAM $dir/none is not there" --memory "size=32M,path=$dir/none" --incoming defer
	boot
	other_vm
	must stop
	checks 1 "runs on this host already"
	must cont
	save
	checks 0 "a start would load the saved guest"
	checks 0 "a start would wait for cprload" --incoming defer
	checks 0 "a start would load the saved guest" --incoming "$checkpoint"
	checks 1 "--incoming: tcp:1: .*No such file" --incoming tcp:1
	checks 0 "a start would boot; the guest saved in checkpoint .* is lost" --discard-saved
	checks 1 "checkpoint has cpus=1, this VM has 2" --cpus 2
	checks 1 "holds another VM, saved" --name other
	mv "$checkpoint" "$dir/away"
	checks 1 "would not load the saved guest, but wait for cprload"
	mv "$dir/away" "$checkpoint"
	boot
	quit_vm
	checks 0 "a start would boot"
	check_text
}

# A tap that the VMM made goes with it. Then the saved guest stays saved, and the same command brings it back once there
# is a tap again.
do_net_tap_missing() {
	local peer
	[ "${STASIS_NETNS:-}" ] || {
		rm -rf "$dir"
		STASIS_NETNS=1 exec unshare -n "$0" net-tap-missing "$build"
	}
	guest=counter extra=(--net "tap=stasis0,vhost=off" --cpr-file "$checkpoint")
	checks 0 "net0: there is no tap stasis0: a start makes one"
	! grep stasis0 /proc/net/dev || die "--check makes a tap"
	boot
	save
	keep_ram
	checks 1 "net0: there is no tap stasis0, to which a saved guest comes back"
	launch
	vm_await qmp_or_dead
	! alive || die "it starts without its tap"
	exits 1
	logged "net0: there is no tap stasis0, .* run the same command again"
	ram_as_kept || die "a refused start changed RAM"
	"$(find_binary net-peer)" tap:stasis0 >"$dir/peer" & # makes one that stays
	peer=$!
	vm_await peer_ready tap:stasis0 || die "net-peer: $(cat "$dir/peer")"
	boot
	quit_vm
	kill -TERM $peer
	check_text
}
