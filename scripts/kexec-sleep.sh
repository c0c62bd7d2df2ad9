# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154 # variables of those that source it
# kexec-sleep.sh - puts guests to sleep before a save, by their agents, and wakes them after the load (sourced, not run).
#
# What is noted in a folder of the guest, which outlives the boot:
#   wake     there while the guest may sleep because it was asked to: whoever loads it wakes it. Until
#            when (seconds since 1970) one that has no t-asleep may still fall asleep
#   agent    what the agent has answered
#   t-NAME   stamps: asked, asleep, woken
# A script that sources it needs kexec-common.sh, and sets suspend_timeout_s and grace_s.

suspend_timeout_s=60 grace_s=5

# state_of SOCKET: run state, or nothing
state_of() { qmp --get /status "$1" query-status 2>/dev/null; }
sleeps() { [[ $(state_of "$1") == suspended ]]; }

# fall_asleep SOCKET SECONDS CLIENT: waits for it, but neither behind the agent's word that it will
# not, nor once the script is gone: what wakes guests waits for the lock
fall_asleep() {
	local end=$((SECONDS + $2)) client=$3 said=0
	until sleeps "$1"; do
		((SECONDS < end)) && lives $$ || return 1
		if [[ -n $client ]] && ! lives "$client"; then
			wait "$client" || said=$?
			[[ $said != 1 ]] || return 1
			client='' # some agents say yes
		fi
		sleep 0.1
	done
}

# stays_awake NAME SOCKET FOLDER: what is to be done about a guest that was asked and does not sleep
stays_awake() {
	local folder=$3 why
	why=$(<"$folder/agent")
	if [[ $why == *": guest-suspend-ram: "* ]]; then # the agent's own word
		rm "$folder/wake"
	else
		complain "$1: is not asleep after $suspend_timeout_s s; waiting $grace_s s more in case it still falls asleep"
		if fall_asleep "$2" "$grace_s" ''; then
			stamp "$folder" asleep
			why="it fell asleep only after $(between "$folder" asked asleep) s"
		elif lives $$; then
			put "$folder" wake 0
		fi
	fi
	complain "$1: could not be put to sleep: ${why:-not asleep after $suspend_timeout_s s}
  If it falls asleep later, wake it: $stasisctl $2 system_wakeup"
}

# put_to_sleep NAME SOCKET AGENT FOLDER: an agent answers nothing when it succeeds. Only the client is
# without the lock: it may outlive this.
put_to_sleep() {
	local folder=$4 client status=0
	if sleeps "$2"; then
		say "$1: is asleep already, and stays asleep over the update"
		return 0
	fi
	stamp "$folder" asked && put "$folder" wake $((EPOCHSECONDS + suspend_timeout_s + grace_s)) &&
		sync "$folder/wake" "$folder" || return 1
	(
		release_signals
		exec "$stasisctl" --agent --connect-timeout "$answer_timeout_s" --timeout "$suspend_timeout_s" \
			"$3" guest-suspend-ram {lock_fd}<&-
	) >"$folder/agent" 2>&1 &
	client=$!
	fall_asleep "$2" "$suspend_timeout_s" "$client" || status=1
	kill "$client" 2>/dev/null
	wait "$client" 2>/dev/null
	if [[ $status != 0 ]]; then
		stays_awake "$1" "$2" "$folder"
		return 1
	fi
	stamp "$folder" asleep
	say "$1: fell asleep in $(between "$folder" asked asleep) s"
}

# wake FOLDER SOCKET: a guest that was put to sleep so, and no other. One that was asked to sleep and was
# not seen asleep may still obey: it is waited for until the time in its mark. Prints why not
wake() {
	local why until=0 end waits=''
	has "$1" wake || return 0
	has "$1" t-asleep || read -r until <"$1/wake"
	end=$((SECONDS + until - EPOCHSECONDS))
	until why=$(qmp "$2" system_wakeup 2>&1 >/dev/null); do
		case $(state_of "$2"),$why in
		paused,*"while it sleeps"*) echo "$why" && return 1 ;;
		running,* | paused,*)
			((SECONDS < end)) || break
			waits=1
			;;
		suspended,*"Unable to wake up"*) ;; # it fell asleep just now
		*) echo "${why:-no answer on $2}" && return 1 ;;
		esac
		sleep 0.1
	done
	[[ -z $why || -z $waits ]] || { echo "it may still fall asleep; run the same command again"; return 1; }
	stamp "$1" woken
	rm -f "$1/wake"
}
