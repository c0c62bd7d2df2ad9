# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# progress.sh - how long a test waits. Sourced by bare/lib.sh, bed/common.sh, bed/host-lib.sh and tests/.
# A machine may be busy or slow, so no wait ends because something took long. It ends when nothing moves:
# the output does not grow and the process uses no CPU time for STALL_S seconds. Something that moves for
# ever without getting anywhere ends after LIMIT_S.

: "${STALL_S:=300}" "${LIMIT_S:=1200}"
AWAIT_PAUSE_S=0.03 # between two looks; longer where a look is dear

# progress_of PID FILE...: a text that changes while the process or its guest does something
progress_of() {
	local pid=$1
	shift
	[[ -z $pid ]] || awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat" 2>/dev/null
	[[ $# == 0 ]] || stat -Lc %s "$@" 2>/dev/null
}

# await PID COMMAND...: waits until COMMAND is true; 1 if there is no more progress. PID may be empty.
# The array AWAIT_OUTPUT names the files whose growth is progress.
await() {
	local pid=$1 now='' last='' moved=$SECONDS begin=$SECONDS looked=$SECONDS
	shift
	until "$@"; do
		if ((SECONDS > looked)); then # at most once a second
			looked=$SECONDS
			now=$(progress_of "$pid" "${AWAIT_OUTPUT[@]-}") || true
			[[ $now == "$last" ]] || moved=$SECONDS last=$now
			((SECONDS - moved < STALL_S && SECONDS - begin < LIMIT_S)) || return 1
		fi
		pause_briefly
	done
}

# pause_briefly: no process for it, of which a slow machine has enough
exec {progress_never}<> <(:)
pause_briefly() { read -rt "$AWAIT_PAUSE_S" -u "$progress_never" || :; }
