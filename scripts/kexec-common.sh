# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034 # variables for the other files
# kexec-common.sh - what kexec-update and kexec-resume share (sourced, not run).
#
# The record of an update: one folder a VM, $state_dir/vm/NAME.
#   args        the VM's command line from the program's name on, NUL separated, made fit for
#               waiting for cprload
#   program     the binary;  cwd: its working directory;  umask;  ids: its uid, gid and groups
#   netns, slice, nice, oom, cpus, limits: what else its process had, see kexec-process.sh
#   socket      its QMP socket
#   ram         its RAM as stasis --inspect-memory takes it
#   process     boot id, process id and start time of its process; once it is back: of the new one
#   folders     of its sockets and its serial file, a line each: mode, uid, gid, path
#   file        the checkpoint that cprload is told; empty: the VM has its own --cpr-file
#   cpr/        where checkpoints go that have no --cpr-file
#   id          of the checkpoint that the save has made
#   wake        there while the guest may sleep because the update asked it to, see kexec-sleep.sh
#   t-NAME      stamps: asked, asleep, begin, saved, start, ready, loaded, woken, resumed.
#               Microseconds of wall-clock time
# A VM is to be resumed if it has t-begin and has no t-resumed. What became of its guest is asked of
# its socket and of the label of its RAM: stamps only say what was tried. One that has wake but no
# t-begin was never to be saved. Started from this record it waits for cprload and never boots.
# What a resumed VM prints goes to $state_dir/log/NAME, which outlives its record.
#
# Needs: bash, jq, kexec, stasisctl (PATH, or STASISCTL names it), coreutils, sed, awk, grep, and of
# util-linux flock and setsid (busybox has most of it); for a VM that had what they give: setpriv,
# nsenter, taskset, prlimit; systemd-run where systemd runs.
# What runs while guests are down does without starting programs where bash can do it.

set -uo pipefail
export LC_ALL=C
umask 077
state_dir=/var/lib/stasis/update
answer_timeout_s=60
stasisctl=${STASISCTL:-stasisctl}

# A reader that is gone (kexec-update | tee) is no reason to fail
say() { echo "${0##*/}: $*" || true; } 2>/dev/null
complain() { echo "${0##*/}: $*" >&2 || true; }
die() {
	complain "$@"
	exit 1
}

# take_options WORD...: sets the variables of the options, wherever they stand, and rest=() to the other
# words. Of the script's table `options` a value is "VARIABLE [WHAT]": WHAT is none, for a switch; =WORD
# for one that takes that word or nothing; or what the option needs: SECONDS are looked at, a TEXT may be
# empty.
declare -A options
take_options() {
	local option variable what value
	rest=()
	while [[ $# -gt 0 ]]; do
		[[ $1 == -* ]] || { rest+=("$1") && shift && continue; }
		option=${1%%=*} value=1
		help_or_version "$1"
		read -r variable what <<<"${options[$option]-}"
		[[ -n $variable ]] || die "'$1' is no option; see --help"
		case $what,$1 in
		,*=*) die "$1: $option takes no value" ;;
		=*,*=*)
			[[ =${1#*=} == "$what" ]] || die "$1: must be $option or $option$what"
			value=${1#*=}
			;;
		,* | =*) ;;
		*=*) value=${1#*=} ;;
		*)
			[[ $# -gt 1 ]] || die "$option: needs $what"
			value=$2 && shift
			;;
		esac
		[[ -n $value || $what == TEXT ]] || die "$option: needs $what"
		[[ $what != SECONDS || ($value =~ ^[1-9][0-9]{0,4}$ && $value -le 86400) ]] ||
			die "$option $value: must be 1 to 86400 seconds"
		printf -v "$variable" %s "$value"
		shift
	done
}

# absolute PATH
absolute() { [[ $1 == /* ]] && echo "$1" || echo "$PWD/$1"; }

# where_from TOOL: how to get one that is missing
where_from() {
	case $1 in
	kexec) echo "package kexec-tools" ;;
	jq) echo "package jq" ;;
	systemd-run) echo "package systemd" ;;
	"$stasisctl") echo "set STASISCTL to its path, or add the folder bin of Stasis's prefix to PATH" ;;
	*) echo "package util-linux" ;;
	esac
}

# need_tools TOOL...: and stasisctl, whose path becomes absolute
need_tools() {
	local tool missing=''
	for tool in "$@" "$stasisctl"; do
		command -v "$tool" >/dev/null || missing+="${missing:+, }$tool ($(where_from "$tool"))"
	done
	[[ -z $missing ]] || die "not in PATH: $missing"
	stasisctl=$(absolute "$(command -v "$stasisctl")")
}

# qmp SOCKET COMMAND [KEY=VALUE...]: prints what it returns; --get POINTER before it: that part. A VM
# that ends meanwhile ends the wait; the limit is for one that lives and serves somebody else.
qmp() { "$stasisctl" --timeout "$answer_timeout_s" "$@"; }

# reach SOCKET: asks who serves it. 0: a VM, whose run state is $run_state; 1: nobody; 2: somebody who
# does not answer, or nobody knows. $why says what is wrong.
reach() {
	local status=0
	why=''
	run_state=$(qmp "$1" --get /status query-status 2>/dev/null) || status=$?
	case $status in
	0) return 0 ;;
	2)
		why="busy: a VM serves it, but no answer for $answer_timeout_s s: is another client connected to it?"
		return 2
		;;
	esac
	if [[ ! -e $1 && ! -L $1 ]]; then
		why="there is no such file"
	elif [[ ! -S $1 ]]; then
		why="is not a socket"
	else
		why=$(qmp "$1" query-status 2>&1 >/dev/null)
		[[ $why == *"left over by a VM that ended"* ]] || return 2
		why="left over by a VM that ended: nobody serves it"
	fi
	return 1
}

# read_label FOLDER: of a VM's RAM; sets label to none, running or saved, and label_id to that of the
# checkpoint which saved RAM waits for. 1: cannot be read, $why says why
read_label() {
	local program cwd ram
	label='' label_id=''
	IFS= read -r program <"$1/program" && IFS= read -r cwd <"$1/cwd" && IFS= read -r ram <"$1/ram" &&
		why=$(cd "$cwd" && "$program" --inspect-memory "$ram" --json 2>&1) || return 1
	[[ $why =~ \"state\":\ *\"([a-z]+)\" ]] || return 1
	label=${BASH_REMATCH[1]}
	[[ ! $why =~ \"checkpoint\":\ *\"([0-9a-f-]+)\" ]] || label_id=${BASH_REMATCH[1]}
}

# While guests are down nothing may end a script, neither Ctrl-C nor an output that nobody reads
signals=(INT QUIT TERM HUP PIPE TSTP)
hold_signals() { trap '' "${signals[@]}"; }
release_signals() { trap - "${signals[@]}"; }

# lock_state [OPTION of flock...]: one update or resume at a time; VMs are started without it
lock_state() {
	if ! { exec {lock_fd}<"$state_dir" && flock "$@" "$lock_fd"; }; then
		die "another kexec-update or kexec-resume is running in $state_dir"
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

# process_of PID: its boot id, process id and start time, which no other process ever has
process_of() {
	local boot stat
	read -r boot </proc/sys/kernel/random/boot_id && stat=$(<"/proc/$1/stat") || return 1
	read -ra stat <<<"${stat##*) }"
	echo "$boot $1 ${stat[19]}"
} 2>/dev/null

# ids_of PID: its uid, gid and groups
ids_of() {
	awk '$1 == "Uid:" { uid = $3 } $1 == "Gid:" { gid = $3 } $1 == "Groups:" { $1 = ""; groups = $0 }
		END { print uid, gid groups }' "/proc/$1/status"
}
# as_user UID GID GROUPS... -- COMMAND...: execs COMMAND as that user, behind words
as_user() {
	local uid=$1 gid=$2 groups=()
	shift 2
	while [[ $1 != -- ]]; do
		groups+=("$1")
		shift
	done
	shift
	[[ $uid == "$EUID" ]] || set -- setpriv --reuid="$uid" --regid="$gid" \
		--groups="$(IFS=,; echo "${groups[*]:-$gid}")" "$@"
	exec "${words[@]}" "$@"
}

# at_its_start PID OPTION...: runs the program of a VM's process with its arguments and these, all as they and
# the files that they name are now; as its user, whose choice that program may be
at_its_start() {
	local args program cwd ids words=()
	mapfile -d '' -t args <"/proc/$1/cmdline" && program=$(readlink "/proc/$1/exe") && cwd=$(readlink "/proc/$1/cwd") &&
		read -ra ids < <(ids_of "$1") || return 1
	shift
	(cd "$cwd" && as_user "${ids[@]}" -- "${program% (deleted)}" "${args[@]:1}" "$@") 2>&1
}
# compare_vm PID SOCKET: prints what in files and program, as they are now, would refuse to load its guest; 1 if
# anything would
compare_vm() { qmp "$2" cprinfo | at_its_start "$1" --compare -; }
# option_of PID NAME: its value, as it is now
option_of() { at_its_start "$1" --show | sed -n "s/^$2 //p"; }

# same_boot FOLDER: did the process of the record run in this boot of the host?
same_boot() {
	local boot now
	read -r boot _ <"$1/process" && read -r now </proc/sys/kernel/random/boot_id && [[ $boot == "$now" ]]
}

# for_all FUNCTION INDEX...: at the same time; 1 if one fails
for_all() {
	local function=$1 i jobs=() status=0
	shift
	for i; do
		"$function" "$i" &
		jobs+=($!)
	done
	for i in "${jobs[@]}"; do
		wait "$i" || status=1
	done
	return "$status"
}

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
		[[ ! -d $folder ]] || folders+=("${folder%/}")
	done
}
to_resume() { has "$1" t-begin && ! has "$1" t-resumed; }
unfinished() { to_resume "$1" || has "$1" wake; }
