# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2034 # kexec-update's variables
# kexec-checks.sh - what kexec-update looks at before it changes anything (sourced, not run).
# Each check_* names all faults that it finds with problem and goes on.

problems=0
problem() {
	complain "$@"
	problems=$((problems + 1))
}
exec {notes}>&1 # where it is not taken for what a check finds out
note() { say "note: $*" >&"$notes"; }

# device_of FILE: of the file system it is on, MAJOR:MINOR
device_of() {
	local device
	device=$(stat -L -c %d "$1") && echo "$((device >> 8 & 0xfff)):$((device & 0xff | device >> 12 & 0xfff00))"
}

# on_disk PATH: what lies there, or will be made there, outlives a boot. Stasis judges its own files by the same rule.
on_disk() { "$stasisctl" --outlives-kexec "$1" 2>/dev/null; }

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

# word_at FILE BYTES OFFSET: the little-endian number there
word_at() { od -An -tu"$2" -j "$3" -N "$2" "$1" 2>/dev/null | tr -d ' '; }

# is_kernel FILE: the magic of a bzImage (HdrS), an ELF file or an EFI program (MZ)
is_kernel() {
	[[ $(word_at "$1" 4 $((0x202))) == $((0x53726448)) || $(word_at "$1" 4 0) == $((0x464c457f)) ||
		$(word_at "$1" 2 0) == $((0x5a4d)) ]]
}

# is_initrd FILE: begins with the magic of cpio, gzip, bzip2, xz, lzma, lzo, lz4 or zstd, which are what Linux takes
is_initrd() {
	[[ $(od -An -tx1 -N 6 "$1" | tr -d ' ') =~ ^(30373037303[12]|1f8b|1f9e|425a68|fd377a585a|5d0000|894c5a4f|02214c18|28b52ffd) ]]
}

check_host() {
	local word folders folder
	if [[ ! -f $kernel || ! -r $kernel ]]; then
		problem "--kernel '$kernel': cannot be read"
	elif ! is_kernel "$kernel"; then
		problem "--kernel $kernel: is no kernel that kexec can load (bzImage, ELF or EFI program)"
	fi
	if [[ ! -f $initrd || ! -r $initrd ]]; then
		problem "--initrd '$initrd': cannot be read"
	elif ! is_initrd "$initrd"; then
		problem "--initrd $initrd: is no initramfs: it begins neither as a cpio archive (newc) nor as a compressed file"
	fi
	command -v "${kexec_words[0]-}" >/dev/null || problem "--kexec-command '$kexec_command': there is no such command"
	find_records
	for folder in "${folders[@]}"; do
		! unfinished "$folder" ||
			problem "${folder##*/} is not back from the last update: run kexec-resume --state-dir $state_dir first"
	done
	while read -r word; do
		note "the new command line drops '$word'"
	done < <(lost_words "$memory_words")
	check_kexec
}

# is_signed FILE: has it a table of certificates, as a signed EFI program? Whose they are is the kernel's to judge.
is_signed() {
	local header bytes
	header=$(word_at "$1" 4 $((0x3c))) && [[ -n $header && $(word_at "$1" 4 "$header") == $((0x4550)) ]] &&
		bytes=$(word_at "$1" 4 $((header + 0xac))) && [[ ${bytes:-0} -gt 0 ]]
}

# check_kexec: does this host let another kernel be loaded at all?
check_kexec() {
	local lockdown=/sys/kernel/security/lockdown level
	if [[ $(cat /proc/sys/kernel/kexec_load_disabled 2>/dev/null) == 1 ]]; then
		problem "kexec is disabled until the host reboots (sysctl kernel.kexec_load_disabled): remove that setting from its configuration and reboot"
	elif [[ $(cat /proc/sys/kernel/kexec_load_limit_reboot 2>/dev/null) == 0 ]]; then
		problem "no more kernels can be loaded until the host reboots (sysctl kernel.kexec_load_limit_reboot): remove that setting from its configuration and reboot"
	fi
	level=$(sed -n 's/.*\[\(.*\)\].*/\1/p' "$lockdown" 2>/dev/null)
	if [[ -n $level && $level != none ]]; then
		if [[ -r $kernel ]] && ! is_signed "$kernel"; then
			problem "--kernel $kernel: is not signed, and this host is locked down ($level), as with Secure Boot: use a signed kernel, sign it (sbsign) with a key that mokutil --import has enrolled, or disable Secure Boot"
		else
			note "this host is locked down ($level): it loads only a kernel that is signed with a key it trusts"
		fi
	fi
}

# The functions below use these variables of check_vm: socket, name, state, pid, serial, file, ram,
# needs_suspend, refusal, cwd, ram_range. Paths that are relative are so to the VM's working directory.
in_cwd() { [[ $1 == /* ]] && echo "$1" || echo "$cwd/$1"; }

# ask_vm MODE: sets them; MODE is that of the save
ask_vm() {
	local info
	reach "$socket" || return 1
	state=$run_state
	why="no answer to cprinfo; is this the QMP socket of a stasis?"
	name=$(qmp --get /name "$socket" query-name) && info=$(qmp "$socket" cprinfo) || return 1
	{ read -r pid; read -r serial; read -r file; read -r ram; read -r ram_range; read -r needs_suspend; read -r refusal; } < <(
		jq -r --arg mode "$1" '.pid, .serial, (."cpr-file" // ""), (.ram.path // ""), ",offset=\(.ram.offset),size=\(.ram.size)",
			([.refused[]? | select(.mode == $mode and ."needs-suspend") | 1][0] // ""),
			(if .modes | index($mode) then "" else
			[.refused[]? | select(.mode == $mode).reason][0] // "no reason given" end)' <<<"$info")
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

# check_compare: would its guest be loaded again? Files and program may have changed since it started.
check_compare() {
	local found line
	found=$(compare_vm "$pid" "$socket") || while IFS= read -r line; do
		problem "$name: its guest would not be loaded again: $line: change that back, or shut the guest down first"
	done <<<"${found:-it cannot be compared with its files}"
}

# check_save: would it be saved, into a checkpoint that is there after the boot?
check_save() {
	local path folder
	[[ -z $refusal || -n $needs_suspend ]] || problem "$name: cannot be saved for a boot of the host: $refusal"
	[[ $serial != stdio ]] ||
		problem "$name: its serial port is on stdio, which is gone after the reboot; start it with --serial unix:PATH or file:PATH"
	[[ -n $file ]] || return
	path=$(in_cwd "$file")
	folder=${path%/*}
	if [[ ! -d $folder/ ]]; then
		problem "$name: the folder of its checkpoint $path does not exist"
	elif ! on_disk "$folder/"; then
		problem "$name: checkpoint $path would not outlive a boot; name a file on a disk"
	fi
}

# check_stays FILE WHAT WAY_OUT: will the VM find this file after the boot?
check_stays() {
	if ! [[ /proc/$pid/root$1 -ef $1 || ! -e /proc/$pid/root$1 ]]; then
		problem "$name: $2 $1 is another file in its mount namespace than here, where it comes back"
	elif [[ ! -b $1 ]] && ! on_disk "$(readlink -f "$1")"; then
		problem "$name: $2 $1 would not outlive a boot; $3"
	fi
}

# check_boot_file FILE: that of --kernel or --initrd. A load does not need it, a later reset of the guest does.
check_boot_file() {
	if [[ ! -r $1 ]]; then
		problem "$name: its $1 is gone, which the guest needs when it resets: put it or another one there"
	elif [[ $1 -ef /proc/$pid/root$1 ]] && ! on_disk "$(readlink -f "$1")"; then
		note "$name: its $1 would not outlive a boot; the guest needs it when it resets"
	fi
}

# is_fixed_name PATH: does it lead to its block device by a link that udev makes, or by a name that device-mapper keeps?
is_fixed_name() {
	local path=$1
	until [[ ! -L $path || $path == /dev/* ]]; do
		path=$(cd "${path%/*}/" && realpath -s "$(readlink "$path")")
	done
	[[ -L $path || $path == /dev/mapper/* ]]
}

# check_disk_name PATH: another disk may have this name after the boot
check_disk_name() {
	local number loop link
	! is_fixed_name "$1" || return 0
	number=$(stat -L -c %t:%T "$1")
	loop=/sys/dev/block/$((0x${number%:*})):$((0x${number#*:}))/loop/backing_file
	if [[ -e $loop ]]; then
		note "$name: another file may be behind its disk $1 after the boot; start it with $(<"$loop")"
		return
	fi
	link=$(stat -L -c '%t:%T %n' /dev/disk/by-{id,partuuid,uuid,path}/* 2>/dev/null | sed -n "s/^$number //p" | head -n 1)
	note "$name: another disk may be $1 after the boot; $(
		[[ -n $link ]] && echo "start it with $link" || echo "udev has no persistent name for it in /dev/disk: add a udev rule"
	)"
}

# check_devices: would what they stand on be there after the boot? Taps and bridges are the host's own
# configuration to make.
check_devices() {
	local args i option value path word vfio=''
	mapfile -d '' -t args <"/proc/$pid/cmdline"
	for i in "${!args[@]}"; do
		option=${args[i]%%=*} value=${args[i]#*=}
		[[ ${args[i]} == --*=* ]] || value=${args[i + 1]-}
		path=$value
		value=${value//,,/$'\n'} # a comma within a value
		case $option,$value in
		--kernel,* | --initrd,*) check_boot_file "$(in_cwd "$path")" ;;
		--console,stdio)
			problem "$name: its console is on stdio, which is gone after the reboot; start it with --console unix:PATH"
			;;
		--net,fd=* | --net,*,fd=*)
			problem "$name: its network card is an inherited descriptor, which is gone after the reboot; start it with --net tap= or stream="
			;;
		--vfio,*) vfio=1 ;;
		--disk,*)
			path=,$value
			path=${path##*,path=}
			path=${path%%,*}
			path=$(in_cwd "${path//$'\n'/,}")
			check_stays "$path" "its disk" "copy it to a disk"
			[[ ! -b $path ]] || check_disk_name "$path"
			;;
		esac
	done
	[[ -n $vfio ]] || return 0
	while read -r word; do
		problem "$name: has a pass-through device and needs '$word', which --append drops: add it"
	done < <(lost_words "$iommu_words")
}

# agent_of_vm: the socket of its guest's agent, if it has one
agent_of_vm() {
	local path
	path=$(qmp "$socket" query-chardev | jq -r '[.[] | select(.label == "agent0").filename][0] // ""')
	path=${path#*unix:}
	[[ -z $path ]] || in_cwd "${path%,server=on}"
}

# check_update_option: it may want to sleep, whatever the command line says
check_update_option() {
	case $(option_of "$pid" update) in
	suspend) want_sleep ;;
	shutdown) problem "$name: is not to be saved (--update shutdown): shut its guest down first, or leave it out and use --others-die" ;;
	esac
}
# want_sleep: a guest that is stopped cannot put itself to sleep, and need not if it can be saved as it is
want_sleep() {
	suspend=1
	[[ $state != running ]] || suspend=all
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
		problem "$name: has no agent that can put its guest to sleep: start it with --agent unix:PATH, or let the guest suspend itself first"
	elif ! qmp --agent --connect-timeout "$answer_timeout_s" "$path" guest-ping >/dev/null; then
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
		! needs_words "$path" || problem "$name: its RAM $path needs '$word', which --append drops: add it"
	done < <(lost_words "$memory_words")
}

# check_vm SOCKET: prints what it finds out for take_vm
check_vm() {
	local socket name='' state pid serial file='' ram='' ram_range='' needs_suspend refusal cwd agent='' suspend=$suspend
	socket=$(absolute "$1")
	if ! ask_vm reboot; then
		problem "$1: $why"
		name=''
	elif ! is_its_process; then
		problem "$name: process $pid, which serves $1, cannot be inspected here; run this as root on the VM's host"
		name=''
	else
		cwd=$(readlink "/proc/$pid/cwd")
		[[ $name != .* ]] || problem "$1: the name of VM $name begins with a dot, so its record cannot be named after it"
		check_process
		check_kept
		check_compare
		check_update_option
		check_save
		check_memory
		check_devices
		check_suspend
		[[ -z $file ]] || file=$(in_cwd "$file")
	fi
	printf '%s\0' "$problems" "$name" "$socket" "${pid-}" "$file" "$ram" "${ram//,/,,}$ram_range" "$agent"
}

# take_vm SOCKET FD: adds the VM of check_vm's answer to the arrays
take_vm() {
	local found name
	mapfile -d '' -t found <&"$2"
	[[ ${#found[@]} == 8 ]] || {
		problem "$1: the check of this VM failed"
		return
	}
	problems=$((problems + found[0])) name=${found[1]}
	[[ -n $name ]] || return
	if [[ " ${pids[*]-} " == *" ${found[3]} "* ]]; then
		problem "$1: this socket is given twice"
	elif [[ " ${names[*]-} " == *" $name "* ]]; then
		problem "$1: there are two VMs named $name"
	fi
	names+=("$name") sockets+=("${found[2]}") pids+=("${found[3]}") own_files+=("${found[4]}") rams+=("${found[5]}")
	ram_ranges+=("${found[6]}") agents+=("${found[7]}")
	files+=("${found[4]:-$state_dir/vm/$name/cpr/checkpoint}")
}

# check_vms SOCKET...: at the same time: one that does not answer holds up no other
check_vms() {
	local socket fd fds=()
	for socket; do
		exec {fd}< <(problems=0; check_vm "$socket")
		fds+=("$fd")
	done
	for socket; do
		take_vm "$socket" "${fds[0]}"
		fds=("${fds[@]:1}")
	done
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
		problem "process $pid is a VM whose guest would be lost: name its socket too, or use --others-die: $line"
	done < <(others)
}
