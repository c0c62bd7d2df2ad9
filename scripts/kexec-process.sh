# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154 # variables of kexec-update and kexec-resume
# kexec-process.sh - what a VM's process has besides its arguments: what a new process gets back, and what
# is only named as lost (sourced, not run).
#
# What is kept, each a file of the VM's record:
#   netns    its network namespace if that is another than the host's: a path below /run/netns
#   slice    its slice. Where systemd runs it comes back in a scope of its own there, so that it does not end
#            with the unit that starts it; system.slice if it was in none
#   nice     its niceness;  oom: its oom_score_adj
#   cpus     those it may run on, a list; empty if that is all that init may
#   limits   its resource limits, as /proc shows them

process_tools=(setsid setpriv nsenter taskset renice prlimit)
[[ ! -d /run/systemd/system ]] || process_tools+=(systemd-run)
runs_systemd() { [[ -d /run/systemd/system ]]; }

# status_of PID KEY: a value of /proc/PID/status
status_of() {
	local key value
	while IFS=$':\t' read -r key value; do
		[[ $key != "$2" ]] || { echo "$value"; return; }
	done <"/proc/$1/status"
	return 1
}
# field_of PID NUMBER: a field of /proc/PID/stat
field_of() {
	local stat
	stat=$(<"/proc/$1/stat") && read -ra stat <<<"${stat##*) }" && echo "${stat[$2 - 3]}"
}
nice_of() { field_of "$1" 19; }

# limits_of PID: "NAME SOFT HARD" of each limit, by prlimit's names. stasis raises the soft limit of
# descriptors itself.
limits_of() {
	local line names name
	declare -A names=(["cpu time"]=cpu ["file size"]=fsize ["data size"]=data ["stack size"]=stack
		["core file size"]=core ["resident set"]=rss [processes]=nproc ["open files"]=nofile
		["locked memory"]=memlock ["address space"]=as ["file locks"]=locks
		["pending signals"]=sigpending ["msgqueue size"]=msgqueue ["nice priority"]=nice
		["realtime priority"]=rtprio ["realtime timeout"]=rttime)
	while IFS= read -r line; do
		[[ $line =~ ^Max\ ([a-z\ ]*[a-z])\ +([0-9]+|unlimited)\ +([0-9]+|unlimited) ]] || continue
		name=${names[${BASH_REMATCH[1]}]-}
		[[ $name != nofile ]] || BASH_REMATCH[2]=${BASH_REMATCH[3]}
		[[ -z $name ]] || echo "$name ${BASH_REMATCH[2]} ${BASH_REMATCH[3]}"
	done <"/proc/$1/limits"
}

# netns_of PID: '' if it is that of this script; 1: another one, which has no name
netns_of() {
	local path
	[[ ! /proc/$1/ns/net -ef /proc/self/ns/net ]] || return 0
	for path in /run/netns/*; do
		[[ ! $path -ef /proc/$1/ns/net ]] || { echo "$path"; return; }
	done
	return 1
}

# cgroup_of PID: where systemd keeps it, else its place in each hierarchy
cgroup_of() {
	if runs_systemd; then
		sed -n -e 's/^0:://p' -e 's/^[0-9]*:name=systemd://p' "/proc/$1/cgroup" | grep -m 1 '/.'
	else
		sort "/proc/$1/cgroup"
	fi
}
# slice_of PID: the innermost one that it is in; '' where no systemd runs
slice_of() {
	runs_systemd || return 0
	if [[ $(cgroup_of "$1") =~ .*/([^/]*\.slice) ]]; then
		echo "${BASH_REMATCH[1]}"
	else
		echo system.slice
	fi
}

# record_process PID FOLDER
record_process() {
	local cpus
	cpus=$(status_of "$1" Cpus_allowed_list) || return 1
	[[ $cpus != "$(status_of 1 Cpus_allowed_list)" ]] || cpus=''
	put "$2" netns "$(netns_of "$1")" && put "$2" slice "$(slice_of "$1")" &&
		put "$2" nice "$(nice_of "$1")" && put "$2" oom "$(<"/proc/$1/oom_score_adj")" &&
		put "$2" cpus "$cpus" && limits_of "$1" >"$2/limits" &&
		process_of "$1" >"$2/process"
}

# become FOLDER: gives this subshell niceness and OOM score of the record, and sets words=() to the command
# line that has to go before the VM's for the rest of it
become() {
	local netns slice nice oom cpus own name soft hard limits=()
	IFS= read -r netns <"$1/netns"
	read -r slice <"$1/slice"
	read -r nice <"$1/nice"
	read -r oom <"$1/oom"
	read -r cpus <"$1/cpus"
	own=$(limits_of self)
	while read -r name soft hard; do
		[[ $'\n'$own$'\n' == *$'\n'"$name $soft $hard"$'\n'* ]] || limits+=("--$name=$soft:$hard")
	done <"$1/limits"
	cpus=${cpus:-$(status_of 1 Cpus_allowed_list)}
	words=()
	! runs_systemd ||
		words+=(systemd-run --scope --quiet --collect --slice="${slice:-system.slice}" --description="stasis VM ${1##*/}" --)
	[[ -z $netns ]] || words+=(nsenter --net="$netns" --)
	[[ $cpus == "$(status_of self Cpus_allowed_list)" ]] || words+=(taskset -c "$cpus")
	[[ ${#limits[@]} == 0 ]] || words+=(prlimit "${limits[@]}" --)
	[[ $nice == "$(nice_of self)" ]] || renice "$nice" -p "$BASHPID" >/dev/null || return 1
	[[ $oom == "$(</proc/self/oom_score_adj)" ]] || echo "$oom" >"/proc/$BASHPID/oom_score_adj"
}

# The functions below use check_vm's variables.

# threads_differ: has one of its threads another affinity, niceness or policy than the first?
threads_differ() {
	local task all=''
	for task in "/proc/$pid/task"/*; do
		all+="$(status_of "$pid/task/${task##*/}" Cpus_allowed_list) $(nice_of "$pid/task/${task##*/}") \
$(field_of "$pid/task/${task##*/}" 41)"$'\n'
	done 2>/dev/null # one that has just ended
	[[ $(sort -u <<<"${all%$'\n'}" | grep -c '[0-9] [0-9]*$') -gt 1 ]]
}

# check_kept: names what it has and would not have any more
check_kept() {
	local kind cgroup
	netns_of "$pid" >/dev/null ||
		problem "$name: its network namespace has no name, so it cannot be found again: name it (ip netns attach NAME $pid)"
	for kind in mnt user pid ipc uts cgroup; do
		[[ /proc/$pid/ns/$kind -ef /proc/self/ns/$kind ]] ||
			note "$name: its $kind namespace is not kept: it comes back in that of kexec-resume"
	done
	! threads_differ || note "$name: affinity, niceness and scheduling policy of single threads are not kept"
	[[ $(field_of "$pid" 41) == 0 ]] || note "$name: its scheduling policy is not kept"
	cgroup=$(cgroup_of "$pid")
	if ! runs_systemd; then
		[[ $cgroup == "$(cgroup_of self)" ]] || note "$name: its cgroup is not kept: it comes back in that of kexec-resume"
	elif [[ $cgroup != *.slice && ${cgroup##*/} != run-*.scope ]]; then
		note "$name: comes back in a scope of its own in $(slice_of "$pid"): what its unit ${cgroup##*/} sets for it is not kept"
	fi
}
