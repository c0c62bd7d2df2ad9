# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# kexec-common.sh - what kexec-update and kexec-resume share (sourced, not run).
#
# The record of an update: one folder a VM below $state_dir.
#   args        the VM's command line from the program's name on, NUL separated, made fit for
#               waiting for cprload
#   program     the binary;  cwd: its working directory;  ids: its uid, gid and groups
#   socket      its QMP socket
#   file        the checkpoint that cprload is told; empty: the VM has its own --cpr-file
#   cpr/        where checkpoints go that have no --cpr-file
#   t-NAME      stamps: begin, saved, start, ready, resumed. Microseconds of wall-clock time
# A VM is to be resumed if it has t-begin and has no t-resumed: whether it was saved is known to
# its RAM and its checkpoint alone. Started from this record it waits for cprload and never boots.
#
# Needs: bash, jq, kexec, stasisctl (PATH, or STASISCTL names it), coreutils, sed, awk, grep, and of
# util-linux setsid, and setpriv for VMs that run as another user. (busybox serves for most.)
# What runs while guests are down does without starting programs where bash can do it.

set -uo pipefail
export LC_ALL=C
umask 077
state_dir=/var/lib/stasis/update
qmp_timeout_s=10
stasisctl=${STASISCTL:-stasisctl}

say() { echo "${0##*/}: $*"; }
complain() { echo "${0##*/}: $*" >&2; }
die() {
	complain "$@"
	exit 1
}

# usage: the comment at the head of the script
usage() { sed -n '3,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

need_tools() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || die "'$tool' is not in PATH"
	done
}

# absolute PATH
absolute() { [[ $1 == /* ]] && echo "$1" || echo "$PWD/$1"; }

# qmp SOCKET COMMAND [KEY=VALUE...]: prints what it returns; --get POINTER before it: that part
qmp() { "$stasisctl" --timeout "$qmp_timeout_s" "$@"; }

# One update or resume at a time. Named by the boot: what a kexec or a crash left locks nobody.
lock_state() {
	local old boot
	read -r boot </proc/sys/kernel/random/boot_id
	lock=$state_dir/.lock-$boot
	for old in "$state_dir"/.lock-*; do
		[[ ! -d $old || $old == "$lock" ]] || rmdir "$old"
	done
	mkdir "$lock" || die "cannot lock $state_dir: if no other update or resume is at work, rmdir $lock"
	trap unlock_state EXIT
}
unlock_state() { rmdir "$lock" 2>/dev/null; }

# put FOLDER NAME VALUE
put() { printf '%s\n' "$3" >"$1/$2"; }
has() { [[ -e $1/$2 ]]; }

# stamp FOLDER NAME: that this happened, and when
stamp() { put "$1" "t-$2" "${EPOCHREALTIME/./}"; }
# between FOLDER FROM TO: seconds, for people
between() {
	local from to us=-1
	! read -r from <"$1/t-$2" || ! read -r to <"$1/t-$3" || us=$((to - from))
	[[ $us -ge 0 ]] || { echo "?"; return; } # no such stamp, or the wall clock was set back
	printf '%d.%02d' $((us / 1000000)) $((us % 1000000 / 10000))
} 2>/dev/null

# records: the folders of all VMs
records() {
	local folder
	for folder in "$state_dir"/*/; do
		[[ ! -e $folder/args ]] || echo "${folder%/}"
	done
}
to_resume() { has "$1" t-begin && ! has "$1" t-resumed; }
