# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2034 # kexec-update's variables
# kexec-checks.sh - what kexec-update looks at before it changes anything (sourced, not run).
# Each check_* names all faults that it finds with problem and goes on.

problems=0
problem() {
	complain "$@"
	problems=$((problems + 1))
}

# device_of FILE: of the file system it is on, MAJOR:MINOR
device_of() {
	local device
	device=$(stat -L -c %d "$1") && echo "$((device >> 8 & 0xfff)):$((device & 0xff | device >> 12 & 0xfff00))"
}

# upper_of FOLDER: where the overlay keeps its changes. Mounted elsewhere than here, as for a
# container, that has a path that means nothing here: then it is taken for a disk.
upper_of() {
	local upper
	upper=$(awk -v device="$(device_of "$1")" '$3 == device' /proc/self/mountinfo |
		sed -n 's/.*[ ,]upperdir=\([^ ,]*\).*/\1/p' | head -n 1)
	[[ -d $upper ]] && echo "$upper"
}

# on_disk PATH: the nearest folder of it that exists is on a file system that outlives a boot
on_disk() {
	local folder=$1 upper
	until [[ -d $folder ]]; do
		folder=${folder%/*}
		folder=${folder:-/}
	done
	case $(stat -f -c %t "$folder") in
	1021994 | 858458f6 | 958458f6) return 1 ;; # tmpfs, ramfs, hugetlbfs
	794c7630) ! upper=$(upper_of "$folder") || on_disk "$upper" ;;
	esac
}

# region_of PATH: where in /sys the memory below a DAX device or a file on a pmem disk belongs
region_of() {
	local device link
	if [[ -c $1 ]]; then
		device=char/$((0x$(stat -L -c %t "$1"))):$((0x$(stat -L -c %T "$1")))
	else
		device=block/$(device_of "$1")
	fi
	for link in "/sys/dev/$device" "/sys/dev/$device"/slaves/* "/sys/dev/$device"/../slaves/*; do
		[[ ! -e $link ]] || readlink -f "$link"
	done
}

memory_words='^(memmap|efi_fake_mem)=' iommu_words=iommu
# lost_words REGEX: which of these words of the running command line are not on the new one
lost_words() {
	local word words
	read -ra words <<<"$running_line"
	for word in "${words[@]}"; do
		[[ ! $word =~ $1 || " $append " == *" $word "* ]] || echo "$word"
	done
}

# needs_words PATH: regions that a firmware table describes come back by themselves, these two need
# the command line. What /sys does not know is taken for one of them.
needs_words() {
	local region
	region=$(region_of "$1")
	[[ -z $region ]] || grep -qE '/(e820_pmem|hmem[.0-9]*)/' <<<"$region"
}

check_host() {
	local word folders folder
	[[ -r $kernel ]] || problem "--kernel '$kernel': cannot be read"
	[[ -r $initrd ]] || problem "--initrd '$initrd': cannot be read"
	command -v "${kexec_words[0]-}" >/dev/null || problem "--kexec-command '$kexec_command': there is no such command"
	find_records
	for folder in "${folders[@]}"; do
		! unfinished "$folder" ||
			problem "${folder##*/} is not back from the last update: run kexec-resume --state-dir $state_dir first"
	done
	while read -r word; do
		say "note: the new command line drops '$word'"
	done < <(lost_words "$memory_words")
}

# The functions below use these variables of check_vm: socket, name, state, pid, serial, file, ram,
# needs_suspend, refusal, cwd. Paths that are relative are so to the VM's working directory.
in_cwd() { [[ $1 == /* ]] && echo "$1" || echo "$cwd/$1"; }

# ask_vm: sets them
ask_vm() {
	name=$(qmp --get /name "$socket" query-name)
	state=$(qmp --get /status "$socket" query-status)
	{ read -r pid; read -r serial; read -r file; read -r ram; read -r needs_suspend; read -r refusal; } < <(
		qmp "$socket" cprinfo | jq -r '.pid, .serial, (."cpr-file" // ""), (.ram.path // ""),
			([.refused[]? | select(.mode == "reboot" and ."needs-suspend") | 1][0] // ""),
			(if .modes | index("reboot") then "" else
			[.refused[]? | select(.mode == "reboot").reason][0] // "no reason given" end)')
	[[ -n $pid && -n $name ]]
}

# is_its_process: and none of another host or another name space: it has the socket as an argument
is_its_process() {
	local words word path
	mapfile -d '' -t words <"/proc/$pid/cmdline" && [[ -r /proc/$pid/exe ]] || return 1
	for word in "${words[@]}"; do
		path=${word#*unix:}
		[[ $path == /* ]] || path=/proc/$pid/cwd/$path
		[[ $word != *unix:* || ! $path -ef $socket ]] || return 0
	done
	return 1
} 2>/dev/null

# check_process: can it be started again as it was?
check_process() {
	local uid
	[[ -d $cwd && $cwd -ef /proc/$pid/cwd ]] || problem "$name: its working directory is gone: $cwd"
	[[ $cwd == / ]] || on_disk "$cwd" ||
		problem "$name: its working directory $cwd would not outlive a boot; start it in a folder on a disk"
	uid=$(awk '$1 == "Uid:" { print $3 }' "/proc/$pid/status")
	[[ $uid == "$EUID" ]] || command -v setpriv >/dev/null ||
		problem "$name: runs as user $uid, and setpriv, which would start it as that user, is not in PATH"
}

# check_save: would it be saved, into a checkpoint that is there after the boot?
check_save() {
	local path folder
	[[ -z $refusal || -n $needs_suspend ]] || problem "$name: cannot be saved for a boot of the host: $refusal"
	[[ $serial != stdio ]] ||
		problem "$name: its serial port is on stdio, which ends with this boot; start it with --serial unix:PATH or file:PATH"
	[[ -n $file ]] || return
	path=$(in_cwd "$file")
	folder=${path%/*}
	if [[ ! -d $folder/ ]]; then
		problem "$name: the folder of its checkpoint $path does not exist"
	elif ! on_disk "$folder/"; then
		problem "$name: checkpoint $path would not outlive a boot; name a file on a disk"
	fi
}

# check_devices: would what they stand on be there after the boot? Taps and bridges are the host's own
# configuration to make.
check_devices() {
	local args i option value path word vfio=''
	mapfile -d '' -t args <"/proc/$pid/cmdline"
	for i in "${!args[@]}"; do
		option=${args[i]%%=*} value=${args[i]#*=}
		[[ ${args[i]} == --*=* ]] || value=${args[i + 1]-}
		value=${value//,,/$'\n'} # a comma within a value
		case $option,$value in
		--console,stdio)
			problem "$name: its console is on stdio, which ends with this boot; start it with --console unix:PATH"
			;;
		--net,fd=* | --net,*,fd=*)
			problem "$name: its network card is an open descriptor, which ends with this boot; start it with --net tap= or stream="
			;;
		--vfio,*) vfio=1 ;;
		--disk,*)
			path=,$value
			path=${path##*,path=}
			path=${path%%,*}
			path=$(in_cwd "${path//$'\n'/,}")
			[[ -b $path ]] || on_disk "$(readlink -f "$path")" ||
				problem "$name: its disk $path would not outlive a boot; copy it to a disk"
			;;
		esac
	done
	[[ -n $vfio ]] || return 0
	while read -r word; do
		problem "$name: has a pass-through device, which --append gives no '$word': add it"
	done < <(lost_words "$iommu_words")
}

# agent_of_vm: the socket of its guest's agent, if it has one
agent_of_vm() {
	local path
	path=$(qmp "$socket" query-chardev | jq -r '[.[] | select(.label == "agent0").filename][0] // ""')
	path=${path#*unix:}
	[[ -z $path ]] || in_cwd "${path%,server=on}"
}

# check_suspend: has its guest to sleep, and would it? Sets agent. One that sleeps already does so on.
check_suspend() {
	local path
	[[ -n $needs_suspend || $suspend == all && $state != suspended ]] || return
	if [[ -z $suspend ]]; then
		problem "$name: has pass-through devices and runs: use --suspend ($refusal)"
	elif [[ $state != running ]]; then
		problem "$name: is $state, so its guest cannot put itself to sleep: cont it first"
	elif [[ $(qmp --get /wakeup-suspend-support "$socket" query-current-machine) != true ]]; then
		problem "$name: its guest cannot sleep: start it without --machine s3=off"
	elif ! path=$(agent_of_vm) || [[ -z $path ]]; then
		problem "$name: has no agent to put its guest to sleep by: start it with --agent unix:PATH, or let the guest suspend itself first"
	elif ! qmp --agent --connect-timeout "$qmp_timeout_s" "$path" guest-ping >/dev/null; then
		problem "$name: its guest's agent does not answer: start qemu-guest-agent in the guest, or let the guest suspend itself first"
	else
		agent=$path
	fi
}

# check_memory: would its RAM be there after the boot?
check_memory() {
	local word path
	[[ -n $ram ]] || return
	path=$(in_cwd "$ram")
	while read -r word; do
		! needs_words "$path" || problem "$name: its RAM $path exists by '$word', which --append drops: add it"
	done < <(lost_words "$memory_words")
}

# check_vm SOCKET: adds the VM to the arrays
check_vm() {
	local socket name state pid serial file ram needs_suspend refusal cwd agent=''
	socket=$(absolute "$1")
	ask_vm || {
		problem "$1: no answer to cprinfo; is this the QMP socket of a stasis?"
		return
	}
	is_its_process || {
		problem "$name: process $pid is not to be seen here as what serves $1; run this as root on the VM's host"
		return
	}
	cwd=$(readlink "/proc/$pid/cwd")
	[[ " ${names[*]-} " != *" $name "* ]] || problem "$1: there are two VMs named $name"
	[[ $name != .* ]] || problem "$1: a folder cannot be named as VM $name is"
	check_process
	check_save
	check_memory
	check_devices
	check_suspend
	names+=("$name") sockets+=("$socket") pids+=("$pid") own_files+=("$file") rams+=("$ram") agents+=("$agent")
	files+=("$([[ -n $file ]] && in_cwd "$file" || echo "$state_dir/vm/$name/cpr/checkpoint")")
}

# is_vm PID: runs a program named stasis, or one that a VM of this update runs
is_vm() {
	local comm other
	read -r comm <"/proc/$1/comm" && lives "$1" || return 1
	[[ $comm != stasis ]] || return 0
	for other in "${pids[@]}"; do
		[[ ! /proc/$1/exe -ef /proc/$other/exe ]] || return 0
	done
	return 1
} 2>/dev/null

# others: process ids of the VMs that are not to be saved
others() {
	local process
	for process in /proc/[0-9]*; do
		process=${process#/proc/}
		[[ " ${pids[*]-} " == *" $process "* ]] || ! is_vm "$process" || echo "$process"
	done
}

check_others() {
	local pid line
	[[ -z $others_die ]] || return 0
	while read -r pid; do
		line=$(tr '\0' ' ' <"/proc/$pid/cmdline") || continue
		problem "process $pid is a VM that would die: name its socket too, or say --others-die: $line"
	done < <(others)
}
