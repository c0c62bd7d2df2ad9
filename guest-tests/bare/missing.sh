# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of lib.sh
# missing.sh - what the host has taken away or replaced: kernels, disks, memory. Sourced by run.

# own_kernel : the guest's kernel as a file that the test may remove
own_kernel() {
	cp "$guests/$guest.elf" "$dir/" || die "no copy of the kernel"
	guests=$dir
}
# Hosts remove old kernels: a guest that booted one, or was loaded while it was there, can be reset.
do_reset_removed() {
	guest=power append="hold end=cf9" on_reset=reset
	own_kernel
	boot
	save
	load
	rm "$guests/$guest.elf"
	mailbox
	vm_await booted_twice || die "no second boot"
	wait_ok 3
	quit_vm
	check_text 2
}
# Without its kernel a guest can be loaded; its reset ends the VM and says what is missing.
do_reset_lost() {
	guest=power append="hold end=cf9" on_reset=reset
	own_kernel
	boot
	save
	rm "$guests/$guest.elf"
	load
	grep -q "could not be reset: --kernel .*/power.elf" "$dir/log.$process" || die "no warning at the load"
	ctl system_reset >"$dir/answer" 2>&1 && die "reset without a kernel"
	grep -q "/power.elf" "$dir/answer" || die "system_reset does not say what is missing"
	wait_ok 2
	mailbox
	exits 1
	grep -q "cannot be booted again: --kernel .*/power.elf" "$dir/log.$process" || die "the end names no cause"
}
# A disk that is not there yet is waited for, never made.
do_disk_missing() {
	guest=blk append="mode=intx"
	give_disk blk-direct
	boot
	save
	mv "$disk_dir/disk" "$disk_dir/away"
	launch --incoming defer
	exits 1
	grep -q "disk $disk_dir/disk: .*: wait for it, then run the same command again" "$dir/log.$process" ||
		die "the way out is not to wait"
	grep -q "create" "$dir/log.$process" && die "says to create it"
	: >"$disk_dir/disk"
	launch --incoming defer
	exits 1
	grep -q "disk $disk_dir/disk is empty: .*wait for it" "$dir/log.$process" || die "an empty disk is to be enlarged"
	rm "$disk_dir/disk"
	cp "$ram" "$dir/ram.good"
	lose_label
	launch --cpr-file "$checkpoint"
	exits 1
	grep -q "disk $disk_dir/disk: .*: wait for it, then" "$dir/log.$process" || die "no wait where the label was lost"
	mv "$dir/ram.good" "$ram"
	mv "$disk_dir/away" "$disk_dir/disk"
	load
	wait_ok 3
	quit_vm
	check_text
}
# refuses_disk TEXT : cprload, because of that; RAM and the waiting VM are as they were
refuses_disk() {
	ctl cprload "file=$checkpoint" >"$dir/answer" 2>&1 && die "another disk was loaded: $1"
	grep -q "disk0 is not as it was saved: .*$1.*accept-disks" "$dir/answer" || die "not '$1': $(cat "$dir/answer")"
	[ "$(status)" = inmigrate ] || [ "$(status)" = prelaunch ] || die "run state $(status)"
	ram_as_kept || die "a refused load changed RAM"
}
# Another disk under the same name is refused by name, the right one loads, and so does one that is accepted.
do_disk_other() {
	local disk
	guest=blk append="mode=msix indirect event"
	give_disk blk-direct
	disk=$disk_dir/disk
	boot
	save
	keep_ram
	cp -p "$disk" "$disk_dir/copy"
	mv "$disk" "$disk_dir/saved"
	cp -p "$disk_dir/copy" "$disk"
	launch --incoming defer
	wait_qmp
	refuses_disk "another file"
	quit_vm
	truncate -s 0 "$disk"
	truncate -s 512K "$disk"
	launch --incoming defer
	wait_qmp
	refuses_disk "its content is another"
	quit_vm
	mv "$disk_dir/saved" "$disk"
	load
	wait_ok 3
	save
	keep_ram
	cp -p "$disk" "$disk_dir/copy"
	mv "$disk_dir/copy" "$disk"
	launch --incoming defer
	wait_qmp
	ctl cprload "file=$checkpoint" accept-disks:='["disk1"]' >"$dir/answer" 2>&1 && die "accepts another disk"
	grep -q "no disk 'disk1'" "$dir/answer" || die "does not say that there is no disk1: $(cat "$dir/answer")"
	refuses_disk "another file"
	ctl cprload "file=$checkpoint" accept-disks:='["disk0"]' >/dev/null || die "does not accept the disk"
	grep -q "disk0 is accepted: it is another file" "$dir/log.$process" || die "the log does not say what was accepted"
	wait_ok 3
	save
	load
	wait_ok 3
	quit_vm
	check_text
}
do_ram_gone() {
	guest=ram memory_mib=64
	boot
	truncate -s 32M "$ram"
	vm_await is_status internal-error || die "run state $(status), not internal-error"
	grep -q 'guest RAM .*GPA 0x' "$dir/log.1" || die "the log does not name the GPA"
	grep -q 'rip ' "$dir/log.1" || die "the log has no registers"
	ctl cont >/dev/null 2>&1 && die "cont was not refused"
	ctl cprsave "file=$checkpoint" mode=restart >/dev/null 2>&1 && die "cprsave was not refused"
	ctl quit >/dev/null || die "quit failed"
	exits 0
}
fill_fs() { ! dd if=/dev/zero of="$dir/fs/fill" bs=4096 2>/dev/null || die "the tmpfs is not full"; }
# Its tmpfs of its own runs full while the guest runs: the log names the cause, be it KVM or SIGBUS that tells.
do_ram_full() {
	own_tmpfs 60M
	guest=ram memory_mib=64
	checks 1 "$ram: size=.* its file system has 60 MiB left"
	launch
	exits 1
	grep -q "$ram: size=.* its file system has 60 MiB left" "$dir/log.1" || die "the refusal names no cause"
	[ -e "$ram" ] && die "a file that is refused stays"
	truncate -s $(((64 << 20) + 8192)) "$ram" && fill_fs # not even its label has a place
	checks 1 "label after guest RAM cannot be read: .* the file system of $ram is full"
	launch
	exits 1
	grep -q "label .* the file system of $ram is full" "$dir/log.$process" || die "the refusal names no cause"
	rm "$ram" "$dir/fs/fill"
	mount -o remount,size=80M "$dir/fs" || die "no larger tmpfs"
	launch --paused
	wait_qmp
	fill_fs
	ctl cont >"$dir/answer" 2>&1 && die "boots without memory for its kernel"
	grep -q "the file system of $ram is full" "$dir/answer" || die "cont names no cause: $(cat "$dir/answer")"
	rm "$dir/fs/fill"
	fallocate -l 30M "$dir/fs/other" || die "no second file"
	ctl cont >/dev/null || die "cont failed"
	vm_await is_status internal-error || die "run state $(status), not internal-error"
	grep -q "the file system of $ram is full" "$dir/log.$process" || die "the log does not name the cause"
	ctl quit >/dev/null || die "quit failed"
	exits 0
	launch --paused
	wait_qmp
	grep -q "$ram: .* not allocated yet" "$dir/log.$process" || die "no warning at the next start"
	quit_vm
}
