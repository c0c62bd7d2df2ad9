# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of lib.sh
# labels.sh - ways to load, and what label and checkpoint file say to a start. Sourced by run.

do_incoming_file() {
	guest=counter extra=(--incoming defer)
	start_refused "RAM $ram is not there"
	extra=() process=0
	boot
	save
	launch --incoming "$checkpoint"
	goes_on
}
# A file without content, as mktemp makes it, is one that may be written to; of what was loaded one is kept.
do_cpr_file() {
	local i first
	guest=counter extra=(--cpr-file "$checkpoint")
	: >"$checkpoint"
	boot
	for i in 1 2; do
		save_to_cpr_file
		boot
		[ -e "$checkpoint" ] && die "load $i has left the checkpoint as it was"
		[ -e "$checkpoint.loaded" ] || die "load $i has not kept the checkpoint"
		! cmp -s "$checkpoint.loaded" "$dir/first" || die "load $i has left the first checkpoint"
		cp "$checkpoint.loaded" "$dir/first"
	done
	save_to_cpr_file
	cmp -s "$checkpoint.loaded" "$dir/first" || die "a save has changed what was loaded before"
	load_refused "already loaded, or its save failed: load the file of the last cprsave, which RAM $ram waits for (checkpoint " \
		"$checkpoint.loaded"
	cmp -s "$checkpoint.loaded" "$dir/first" || die "a load that was refused has changed its file"
	boot
	save_to_cpr_file "file=$dir/elsewhere"
	checks 1 "$checkpoint.loaded is an earlier checkpoint: load the file that the last cprsave wrote, checkpoint"
	launch --incoming "$dir/elsewhere"
	goes_on
}
# load_refused WORDS FILE : by a fresh process, which ends
load_refused() {
	launch_deferred
	refuses "$1" cprload "file=$2"
	quit_vm
}
# What --cpr-file could not be written to is named before a guest runs.
start_refused() {
	fails_to_start "$1"
	[ -e "$ram" ] && die "RAM was made for a guest that does not start"
}
do_cpr_file_refused() {
	guest=counter
	extra=(--cpr-file "$dir/none/checkpoint")
	start_refused "--cpr-file $dir/none/checkpoint: folder $dir/none: No such file"
	extra=(--cpr-file "$checkpoint.loaded")
	start_refused "name cannot end in .loaded"
	extra=(--cpr-file "$checkpoint")
	echo letter >"$checkpoint"
	start_refused "--cpr-file $checkpoint exists and is not replaced"
	[ "$(cat "$checkpoint")" = letter ] || die "the file has changed"
	rm "$checkpoint"
	boot
	save_to_cpr_file
	rm "$ram"
	fails_to_start "--cpr-file $checkpoint: holds VM '$vm_name'" --name other
}
# A guest saved for a kexec is not brought back in the same boot by whoever starts VMMs again when they end.
do_reboot_waits() {
	on_disk
	guest=counter checkpoint=$disk_dir/checkpoint ram=$disk_dir/ram
	extra=(--cpr-file "$checkpoint")
	boot
	must cprsave mode=reboot timeout-ms=300000
	exits 3
	launch_up
	state_is inmigrate
	logged "$checkpoint was saved with mode=reboot, and the host has not been rebooted since"
	stands_still
	must cprload
	wait_ok 3
	save_to_cpr_file
	launch
	goes_on
}
do_label_waits() {
	guest=counter
	boot
	save
	launch_up
	state_is inmigrate
	logged "this VM is saved; this start waits for cprload, .* lose the saved guest (RAM $ram, checkpoint [0-9a-f-]*)"
	stands_still
	must cprload "file=$checkpoint"
	goes_on
}
do_label_discard() {
	guest=counter
	boot
	save
	launch_up --discard-saved
	logged "warn: --discard-saved: the guest saved in checkpoint .* is lost"
	goes_on 2
}
# lose_label [COPY] : a page of zeroes in place of a copy of the label (0, 1), or of both
lose_label() {
	local pages=1
	[ $# -gt 0 ] || pages=2
	dd if=/dev/zero of="$ram" bs=4096 seek=$((memory_mib * 256 + ${1:-0})) count=$pages conv=notrunc status=none
}
# Without a label the checkpoint's name decides: a guest that was never loaded is not booted over.
do_label_lost() {
	guest=counter extra=(--cpr-file "$checkpoint")
	boot
	save_to_cpr_file
	keep_ram
	cp "$ram" "$dir/ram.good"
	lose_label
	label_lost_waits "RAM $ram has no label of this VM, though $checkpoint was never loaded"
	quit_vm
	ram_as_kept || die "RAM has changed"
	"$stasis" --inspect-memory "$ram" | grep -q "^no label found for RAM at offset=0: give offset= and size=" ||
		die "--inspect-memory says: $("$stasis" --inspect-memory "$ram")"
	rm "$ram"
	checks 1 "RAM file $ram is missing, though $checkpoint was never loaded: bring it back"
	checks 1 "would not load the saved guest, but wait for cprload"
	label_lost_waits "RAM file $ram is missing, though $checkpoint was never loaded: bring it back"
	[ -e "$ram" ] && die "RAM was made for a guest that waits"
	# It comes back while the VM still waits for it.
	mv "$dir/ram.good" "$ram"
	quit_vm
	[ -e "$ram" ] || die "the RAM of a saved guest was removed"
	lose_label 0
	boot
	save_to_cpr_file
	lose_label 1
	boot
	quit_vm
	lose_label
	boot
	logged "$checkpoint.loaded was loaded: .*; booting"
	save_to_cpr_file
	lose_label
	boot --discard-saved
	[ -e "$checkpoint" ] && die "the checkpoint of a guest that was given up still waits"
	quit_vm
	rm "$ram"
	launch_up
	goes_on 4
}
# label_lost_waits WHY
label_lost_waits() {
	launch_up
	state_is inmigrate
	logged "$1.*; this start waits for cprload, --discard-saved would boot and lose the saved guest (RAM $ram)"
}
# A checkpoint is good once: afterwards RAM has moved on.
do_label_spent() {
	guest=counter
	boot
	reload
	wait_ok 3
	refuses '' cprload "file=$checkpoint"
	quit_vm
	load_refused "it was loaded already and is $checkpoint.loaded now" "$checkpoint"
	load_refused "the guest has run on" "$checkpoint.loaded"
	check_text
}
do_label_other() {
	guest=counter
	boot
	save
	fails_to_start "holds another VM, saved (uuid " --name other
	for memory_mib in 16 64; do
		fails_to_start "$ram holds a saved guest of $GUEST_MIB MiB .*: give size=${GUEST_MIB}M"
	done
	memory_mib=$GUEST_MIB
	load
	wait_ok 3
	quit_vm
}
do_load_mismatch() {
	guest=counter
	boot
	save
	cpus=2
	launch_deferred
	refuses "cpus=1" cprload "file=$checkpoint"
	quit_vm
	cpus=1
	load
	goes_on
}
do_load_damaged() {
	local good=$dir/good
	guest=counter
	boot
	save
	keep_ram
	cp "$checkpoint" "$good"
	launch_deferred
	printf 'x' | dd of="$checkpoint" bs=1 seek=3000 conv=notrunc status=none
	refuses '' cprload "file=$checkpoint"
	head -c 4000 "$good" >"$checkpoint"
	refuses '' cprload "file=$checkpoint"
	ram_as_kept || die "a refused load changed RAM"
	must cprload "file=$good"
	goes_on
}
