# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2034 # kexec-update's variables
# kexec-units.sh - kexec-update without a SOCKET, on a host whose VMs are services (sourced, not run). stasis-saver saves
# them when the host goes down, and their units bring them back. What is left: to check, to load the kernel, to ask for the
# kexec, and to wait: `systemctl kexec` returns 0 long before it is known whether it is going to happen.

# find_kernel: without --kernel and --initrd the newest ones that are installed, by the links of Debian's kernel packages
find_kernel() {
	[[ -n $kernel || ! -e /vmlinuz ]] || kernel=$(readlink -f /vmlinuz)
	[[ -n $initrd || ! -e /initrd.img ]] || initrd=$(readlink -f /initrd.img)
	[[ -n $kernel && -n $initrd ]] || die "needs --kernel and --initrd: there are no links /vmlinuz and /initrd.img to the newest ones"
}

# check_units: each VM and what saves it, by stasisctl check; what the new command line drops
check_units() {
	local unit socket name cwd=/ ram
	"$stasisctl" check || problem "not all VMs can be updated, see above"
	while read -r unit; do
		name=${unit#stasis@} name=${name%.service} socket=/run/stasis/$name/qmp
		pids+=("$(systemctl show -P MainPID "$unit")")
		ram=$(qmp "$socket" --get /ram/path cprinfo 2>/dev/null) || ram=''
		check_memory
	done < <(systemctl list-units --plain --no-legend --no-pager --state=active 'stasis@*.service' | cut -d ' ' -f 1)
	check_others
}

# host_goes_down: logind asks its delay locks, or systemd stops units already
host_goes_down() {
	[[ $(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager PreparingForShutdown 2>/dev/null) == 'b true' ]] ||
		systemctl list-jobs --plain --no-legend --no-pager | grep -q ' kexec\.target  *start ' || is_stopping
}

# ask_for_kexec: returns only if the host stays up
ask_for_kexec() {
	local begin=$EPOCHSECONDS
	say "systemctl kexec"
	systemctl kexec || complain "systemctl kexec failed"
	while host_goes_down || { sleep 1 && host_goes_down; }; do sleep 1; done # the shutdown ends this script
	journalctl --no-pager -o cat -u stasis-saver --since "@$begin" >&2
	kexec -a -u || complain "kexec -u failed: the new kernel is still loaded"
	die "the host stays on $(uname -r), see above; its guests: $stasisctl list"
}

update_units() {
	[[ -z $suspend ]] || die "--suspend: for VMs that are services 'update suspend' in the VM's configuration says so; see stasis.conf(5)"
	find_kernel
	check_host
	check_units
	[[ $problems == 0 ]] || die "$problems problem(s) found; nothing was changed"
	[[ -z $check ]] || exit 0
	load_kernel
	[[ -z $load ]] || exit 0
	ask_for_kexec
}
