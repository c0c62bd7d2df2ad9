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
	wait_ok 3
	quit_vm
	check_text
}
# A file without content, as mktemp makes it, is one that may be written to; of what was loaded one is kept.
do_cpr_file() {
	local i first
	guest=counter extra=(--cpr-file "$checkpoint")
	: >"$checkpoint"
	boot
	for i in 1 2; do
		ctl cprsave mode=restart >/dev/null || die "cprsave $i failed"
		exits 0
		launch
		wait_ok 3
		[ -e "$checkpoint" ] && die "load $i has left the checkpoint as it was"
		[ -e "$checkpoint.loaded" ] || die "load $i has not kept the checkpoint"
		! cmp -s "$checkpoint.loaded" "$dir/first" || die "load $i has left the first checkpoint"
		cp "$checkpoint.loaded" "$dir/first"
	done
	ctl cprsave mode=restart >/dev/null || die "cprsave failed"
	exits 0
	cmp -s "$checkpoint.loaded" "$dir/first" || die "a save has changed what was loaded before"
	load_refused "file=$checkpoint.loaded"
	grep -q "already loaded, or its save failed: load the file of the last cprsave, which RAM $ram waits for (checkpoint " \
		"$dir/answer" || die "the refusal: $(cat "$dir/answer")"
	cmp -s "$checkpoint.loaded" "$dir/first" || die "a load that was refused has changed its file"
	launch
	wait_ok 3
	ctl cprsave mode=restart "file=$dir/elsewhere" >/dev/null || die "cprsave elsewhere failed"
	exits 0
	checks 1 "$checkpoint.loaded is an earlier checkpoint: load the file that the last cprsave wrote, checkpoint"
	launch --incoming "$dir/elsewhere"
	wait_ok 3
	quit_vm
	check_text
}
# load_refused ARGUMENT... : by a fresh process, which ends
load_refused() {
	launch --incoming defer
	wait_qmp
	ctl cprload "$@" >"$dir/answer" 2>&1 && die "cprload $* was not refused"
	quit_vm
}
# What --cpr-file could not be written to is named before a guest runs.
start_refused() {
	launch
	exits 1
	grep -q -e "$1" "$dir/log.$process" || die "the refusal does not say '$1': $(cat "$dir/log.$process")"
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
	ctl cprsave mode=restart >/dev/null || die "cprsave failed"
	exits 0
	rm "$ram"
	launch --name other
	exits 1
	grep -q -e "--cpr-file $checkpoint: holds VM '$vm_name'" "$dir/log.$process" || die "the other VM is not named: $(cat "$dir/log.$process")"
}
# A guest saved for a kexec is not brought back in the same boot by whoever starts VMMs again when they end.
do_reboot_waits() {
	on_disk
	guest=counter checkpoint=$disk_dir/checkpoint ram=$disk_dir/ram
	extra=(--cpr-file "$checkpoint")
	boot
	ctl cprsave mode=reboot timeout-ms=300000 >/dev/null || die "cprsave failed"
	exits 3
	launch
	wait_qmp
	[ "$(status)" = inmigrate ] || die "run state $(status), not inmigrate, in the boot that the guest was saved in"
	grep -q "$checkpoint was saved with mode=reboot, and the host has not been rebooted since" "$dir/log.$process" ||
		die "the log does not say why: $(cat "$dir/log.$process")"
	stands_still
	ctl cprload >/dev/null || die "cprload failed"
	wait_ok 3
	ctl cprsave mode=restart timeout-ms=300000 >/dev/null || die "cprsave failed"
	exits 0
	launch
	wait_ok 3
	quit_vm
	check_text
}
do_label_waits() {
	guest=counter
	boot
	save
	launch
	wait_qmp
	[ "$(status)" = inmigrate ] || die "run state $(status), not inmigrate, on RAM labelled saved"
	grep -q "this VM is saved; this start waits for cprload, .* lose the saved guest (RAM $ram, checkpoint [0-9a-f-]*)" \
		"$dir/log.$process" || die "the log does not say why: $(cat "$dir/log.$process")"
	stands_still
	ctl cprload "file=$checkpoint" >/dev/null || die "cprload failed"
	wait_ok 3
	quit_vm
	check_text
}
do_label_discard() {
	guest=counter
	boot
	save
	launch --discard-saved
	wait_qmp
	grep -q "warn: --discard-saved: the guest saved in checkpoint .* is lost" "$dir/log.$process" ||
		die "the log does not say what is lost: $(cat "$dir/log.$process")"
	wait_ok 3
	quit_vm
	check_text 2
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
	ctl cprsave mode=restart >/dev/null || die "cprsave failed"
	exits 0
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
	launch
	wait_ok 3
	ctl cprsave mode=restart >/dev/null || die "cprsave failed"
	exits 0
	lose_label 1
	launch
	wait_ok 3
	quit_vm
	lose_label
	launch
	wait_qmp
	wait_ok 3
	grep -q "$checkpoint.loaded was loaded: .*; booting" "$dir/log.$process" || die "boots and does not say why"
	ctl cprsave mode=restart >/dev/null || die "cprsave failed"
	exits 0
	lose_label
	launch --discard-saved
	wait_qmp
	wait_ok 3
	[ -e "$checkpoint" ] && die "the checkpoint of a guest that was given up still waits"
	quit_vm
	rm "$ram"
	launch
	wait_qmp
	wait_ok 3
	quit_vm
	check_text 4
}
# label_lost_waits WHY
label_lost_waits() {
	launch
	wait_qmp
	[ "$(status)" = inmigrate ] || die "run state $(status), not inmigrate, without a label"
	grep -q "$1.*; this start waits for cprload, --discard-saved would boot and lose the saved guest (RAM $ram)" "$dir/log.$process" ||
		die "the log does not say why: $(cat "$dir/log.$process")"
}
# A checkpoint is good once: afterwards RAM has moved on.
do_label_spent() {
	guest=counter
	boot
	save
	load
	wait_ok 3
	ctl cprload "file=$checkpoint" >/dev/null 2>&1 && die "cprload into a running guest"
	quit_vm
	load_refused "file=$checkpoint"
	grep -q "it was loaded already and is $checkpoint.loaded now" "$dir/answer" || die "the refusal: $(cat "$dir/answer")"
	load_refused "file=$checkpoint.loaded"
	grep -q "the guest has run on" "$dir/answer" || die "the refusal: $(cat "$dir/answer")"
	check_text
}
do_label_other() {
	guest=counter
	boot
	save
	launch --name other
	exits 1
	grep -q "holds another VM, saved (uuid " "$dir/log.$process" || die "the refusal does not name the VM whose RAM it is"
	for memory_mib in 16 64; do
		launch
		exits 1
		grep -q "$ram holds a saved guest of $GUEST_MIB MiB .*: give size=${GUEST_MIB}M" "$dir/log.$process" ||
			die "a wrong size over a saved guest: $(cat "$dir/log.$process")"
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
	launch --incoming defer
	wait_qmp
	ctl cprload "file=$checkpoint" >"$dir/answer" 2>&1 && die "a checkpoint of 1 vCPU loaded into 2"
	grep -q "cpus=1" "$dir/answer" || die "the refusal does not name the vCPUs: $(cat "$dir/answer")"
	quit_vm
	cpus=1
	load
	wait_ok 3
	quit_vm
	check_text
}
do_load_damaged() {
	local good=$dir/good
	guest=counter
	boot
	save
	keep_ram
	cp "$checkpoint" "$good"
	launch --incoming defer
	wait_qmp
	printf 'x' | dd of="$checkpoint" bs=1 seek=3000 conv=notrunc status=none
	ctl cprload "file=$checkpoint" >/dev/null 2>&1 && die "a damaged checkpoint was loaded"
	head -c 4000 "$good" >"$checkpoint"
	ctl cprload "file=$checkpoint" >/dev/null 2>&1 && die "a truncated checkpoint was loaded"
	ram_as_kept || die "a refused load changed RAM"
	ctl cprload "file=$good" >/dev/null || die "cprload failed after two refused ones"
	wait_ok 3
	quit_vm
	check_text
}
