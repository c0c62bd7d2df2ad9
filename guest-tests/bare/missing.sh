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
	reload
	rm "$guests/$guest.elf"
	mailbox
	vm_await booted_twice || die "no second boot"
	goes_on 2
}
# Without its kernel a guest can be loaded; its reset ends the VM and says what is missing.
do_reset_lost() {
	guest=power append="hold end=cf9" on_reset=reset
	own_kernel
	boot
	save
	rm "$guests/$guest.elf"
	load
	logged "could not be reset: --kernel .*/power.elf"
	refuses "/power.elf" system_reset
	wait_ok 2
	mailbox
	exits 1
	logged "cannot be booted again: --kernel .*/power.elf"
}
# A disk that is not there yet is waited for, never made.
do_disk_missing() {
	guest=blk append="mode=intx"
	give_disk blk-direct
	boot
	save
	mv "$disk_dir/disk" "$disk_dir/away"
	fails_to_start "disk $disk_dir/disk: .*: wait for it, then run the same command again" --incoming defer
	grep -q "create" "$dir/log.$process" && die "says to create it"
	: >"$disk_dir/disk"
	fails_to_start "disk $disk_dir/disk is empty: .*wait for it" --incoming defer
	rm "$disk_dir/disk"
	cp "$ram" "$dir/ram.good"
	lose_label
	fails_to_start "disk $disk_dir/disk: .*: wait for it, then" --cpr-file "$checkpoint"
	mv "$dir/ram.good" "$ram"
	mv "$disk_dir/away" "$disk_dir/disk"
	load
	goes_on
}
# refuses_disk TEXT : cprload, because of that; RAM and the waiting VM are as they were
refuses_disk() {
	refuses "disk0 is not as it was saved: .*$1.*accept-disks" cprload "file=$checkpoint"
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
	launch_deferred
	refuses_disk "another file"
	quit_vm
	truncate -s 0 "$disk"
	truncate -s 512K "$disk"
	launch_deferred
	refuses_disk "its content is another"
	quit_vm
	mv "$disk_dir/saved" "$disk"
	load
	wait_ok 3
	save
	keep_ram
	cp -p "$disk" "$disk_dir/copy"
	mv "$disk_dir/copy" "$disk"
	launch_deferred
	refuses "no disk 'disk1'" cprload "file=$checkpoint" accept-disks:='["disk1"]'
	refuses_disk "another file"
	must cprload "file=$checkpoint" accept-disks:='["disk0"]'
	logged "disk0 is accepted: it is another file"
	wait_ok 3
	reload
	goes_on
}
do_ram_gone() {
	guest=ram memory_mib=64
	boot
	truncate -s 32M "$ram"
	await_state internal-error
	logged 'guest RAM .*GPA 0x'
	logged 'rip '
	refuses '' cont
	refuses '' cprsave "file=$checkpoint" mode=restart
	quit_vm
}
fill_fs() { ! dd if=/dev/zero of="$dir/fs/fill" bs=4096 2>/dev/null || die "the tmpfs is not full"; }
# Its tmpfs of its own runs full while the guest runs: the log names the cause, be it KVM or SIGBUS that tells.
do_ram_full() {
	own_tmpfs 60M
	guest=ram memory_mib=64
	checks 1 "$ram: size=.* its file system has 60 MiB left"
	fails_to_start "$ram: size=.* its file system has 60 MiB left"
	[ -e "$ram" ] && die "a file that is refused stays"
	truncate -s $(((64 << 20) + 8192)) "$ram" && fill_fs # not even its label has a place
	checks 1 "label after guest RAM cannot be read: .* the file system of $ram is full"
	fails_to_start "label .* the file system of $ram is full"
	rm "$ram" "$dir/fs/fill"
	mount -o remount,size=80M "$dir/fs" || die "no larger tmpfs"
	launch_up --paused
	fill_fs
	refuses "the file system of $ram is full" cont
	rm "$dir/fs/fill"
	fallocate -l 30M "$dir/fs/other" || die "no second file"
	must cont
	await_state internal-error
	logged "the file system of $ram is full"
	quit_vm
	launch_up --paused
	logged "$ram: .* not allocated yet"
	quit_vm
}
