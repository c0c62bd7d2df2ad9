# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of lib.sh
# output.sh - files, logs and consoles that take nothing more. Sourced by run.

# A limit on the size of files fails a save and loses output, as a full file system does; the guest goes on. On tmpfs it
# is met when room is made for the checkpoint, on a disk when it is written.
file_size_limit() { prlimit --pid "$pid" --fsize="$1:unlimited" || die "prlimit failed"; }
do_file_limit() {
	local file
	guest=counter
	disk_dir=$(mktemp -d "${STASIS_TEST_DISK:-/var/tmp}/stasis-bare.XXXXXX") || exit 1
	boot
	file_size_limit 0
	for file in "$checkpoint" "$disk_dir/checkpoint"; do
		refuses "File too large" cprsave "file=$file" mode=restart
		state_is running
		[ -z "$(find "$file"* 2>/dev/null)" ] || die "a checkpoint was left behind"
		moves
	done
	file_size_limit unlimited
	wait_ok 3
	logged "bytes of its output were dropped"
	logged "of this log could not be written"
	reload
	wait_ok 3
	quit_vm
}

# A log that nobody reads holds up neither save nor load, and how much of it is lost is told once somebody does.
drain_log() { dd if="$stderr" iflag=nonblock bs=64K 2>/dev/null | tr -d '\0' >>"$dir/drained"; }
told_lost() {
	drain_log
	grep -q "stasis $vm_name: warn: [1-9][0-9]* lines\? of this log could not be written" "$dir/drained"
}
do_log_full() {
	guest=counter stderr=$dir/stderr
	mkfifo "$stderr" || die "no FIFO"
	exec 9<>"$stderr"
	LC_ALL=C dd if=/dev/zero of="$stderr" oflag=nonblock bs=4096 2>"$dir/fill"
	grep -q "temporarily unavailable" "$dir/fill" || die "the FIFO is not full: $(cat "$dir/fill")"
	boot
	reload
	wait_ok 3
	: >"$dir/drained"
	vm_await told_lost || die "it is not told what was lost: $(cat "$dir/drained")"
	finish
}
