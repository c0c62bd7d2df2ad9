# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# kexec-common.sh - what kexec-update and kexec-resume share (sourced, not run).
#
# The record of an update: one folder a VM, $state_dir/vm/NAME.
#   args        the VM's command line from the program's name on, NUL separated, made fit for
#               waiting for cprload
#   program     the binary;  cwd: its working directory;  umask;  ids: its uid, gid and groups
#   socket      its QMP socket
#   folders     of its sockets and its serial file, a line each: mode, uid, gid, path
#   file        the checkpoint that cprload is told; empty: the VM has its own --cpr-file
#   cpr/        where checkpoints go that have no --cpr-file
#   wake        there while the guest may sleep because the update asked it to: kexec-resume wakes
#               it. Until when (seconds since 1970) one that has no t-asleep may still fall asleep
#   t-NAME      stamps: asked, asleep, begin, saved, start, ready, loaded, woken, resumed.
#               Microseconds of wall-clock time
# A VM is to be resumed if it has t-begin and has no t-resumed: whether it was saved is known to
# its RAM and its checkpoint alone. One that has wake but no t-begin was never to be saved. Started
# from this record it waits for cprload and never boots.
# What a resumed VM prints goes to $state_dir/log/NAME, which outlives its record.
#
# Needs: bash, jq, kexec, stasisctl (PATH, or STASISCTL names it), coreutils, sed, awk, grep, and of
# util-linux flock, setsid, and setpriv for VMs that run as another user. (busybox has most of it.)
# What runs while guests are down does without starting programs where bash can do it.

set -uo pipefail
export LC_ALL=C
umask 077
state_dir=/var/lib/stasis/update
qmp_timeout_s=10
stasisctl=${STASISCTL:-stasisctl}

# A reader that is gone (kexec-update | tee) is no reason to fail
say() { echo "${0##*/}: $*" || true; } 2>/dev/null
complain() { echo "${0##*/}: $*" >&2 || true; }
die() {
	complain "$@"
	exit 1
}

# usage: the comment at the head of the script
usage() { sed -n '3,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# absolute PATH
absolute() { [[ $1 == /* ]] && echo "$1" || echo "$PWD/$1"; }

# need_tools TOOL...: and stasisctl, whose path becomes absolute
need_tools() {
	local tool missing=()
	for tool in "$@" "$stasisctl"; do
		command -v "$tool" >/dev/null || missing+=("$tool")
	done
	[[ ${#missing[@]} == 0 ]] || die "not in PATH: ${missing[*]}"
	stasisctl=$(absolute "$(command -v "$stasisctl")")
}

# need_number OPTION TEXT
need_number() { [[ $2 =~ ^[0-9]{1,6}$ ]] || die "$1 $2: must be a whole number of seconds"; }
# need_limit OPTION TEXT: a time limit
need_limit() { [[ $2 =~ ^[1-9][0-9]{0,4}$ && $2 -le 86400 ]] || die "$1 $2: 1 to 86400 seconds"; }

# qmp SOCKET COMMAND [KEY=VALUE...]: prints what it returns; --get POINTER before it: that part
qmp() { "$stasisctl" --timeout "$qmp_timeout_s" "$@"; }

# While guests are down nothing may end a script, neither Ctrl-C nor an output that nobody reads
signals=(INT QUIT TERM HUP PIPE TSTP)
hold_signals() { trap '' "${signals[@]}"; }
release_signals() { trap - "${signals[@]}"; }

# lock_state [OPTION of flock...]: one update or resume at a time; VMs are started without it
lock_state() {
	if ! { exec {lock_fd}<"$state_dir" && flock "$@" "$lock_fd"; }; then
		die "another update or resume is at work in $state_dir"
	fi
}
unlock_state() { exec {lock_fd}<&-; }

# lives PID: and is no zombie
lives() {
	local stat
	stat=$(<"/proc/$1/stat") || return 1
	stat=${stat##*) }
	[[ $stat != [ZX]* ]]
} 2>/dev/null

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

# find_records: sets folders=() to those of all VMs
find_records() {
	local folder
	folders=()
	for folder in "$state_dir"/vm/*/; do
		[[ ! -e ${folder}args ]] || folders+=("${folder%/}")
	done
}
to_resume() { has "$1" t-begin && ! has "$1" t-resumed; }
unfinished() { to_resume "$1" || has "$1" wake; }
