# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# units-lib.sh - a VM as stasis@vm1 on a host with systemd, sourced as /bed/units-lib.sh by scenario-units and
# scenario-rows. Needs /bed/inst.tar, what `cmake --install` makes.
# shellcheck source=../bed/host-lib.sh
. /bed/host-lib.sh

log=/state/vm1.log socket=/run/stasis/vm1/qmp

ctl() { stasisctl --timeout "$LIMIT_S" "$socket" "$@"; }
status() { ctl --get /status query-status 2>/dev/null; }
active() { [[ $(systemctl is-active "$1") == active ]]; }
ticks() { grep -c '^tick' "$log"; }
ticks_after() { [[ $(ticks) -gt $1 ]]; }

broken() {
	systemctl --no-pager --full status 'stasis@vm1' stasis-saver
	journalctl --no-pager -b -n 60
	tail -n 3 "$log"
	fail "$@"
}

# goes_on TEXT: it is the guest that was booted first, and it runs
goes_on() {
	await '' active stasis@vm1 || broken "$1: the unit is not active"
	[[ $(status) == running ]] || broken "$1: the guest is $(status)"
	await '' ticks_after "$(ticks)" || broken "$1: the guest does not go on"
	[[ $(grep -c 'GUEST up' "$log") == 1 ]] || broken "$1: another guest has booted"
	say "$1: the guest goes on: $(grep '^tick' "$log" | tail -n 1)"
}

install_stasis() {
	tar -C / -xf /bed/inst.tar
	printf '%s\n' kvm-amd libnvdimm nfit nd_pmem dax_pmem dax_hmem device_dax >/etc/modules-load.d/bed.conf
	cp /bed/guest-6.1.img /state/
	cat >/etc/stasis/vm1.conf <<-CONF
		# the guest of this scenario
		cpus 1
		memory size=256M,path=$DAX
		kernel /t/boot/vmlinuz-$(kexec_kernel 6.1)
		initrd /state/guest-6.1.img
		append console=ttyS0 quiet panic=-1
		serial file:$log
	CONF
	systemd-sysusers && systemd-tmpfiles --create && udevadm control --reload && udevadm trigger --settle --subsystem-match=dax
	systemctl restart systemd-logind && systemctl daemon-reload
	systemctl enable -q stasis-saver stasis.target stasis@vm1
}

# first_boot: the host is set up, and the guest runs
first_boot() {
	mkdir -p /etc/stasis
	kvm_up
	dax_up
	install_stasis
	systemctl start stasis-saver || broken "stasis-saver does not start"
	systemctl start stasis@vm1 || broken "stasis@vm1 does not start"
	await '' grep -q '^tick' "$log" || broken "the guest does not boot"
	goes_on "systemctl start"
}

settled() { [[ $(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager PreparingForShutdown) == 'b false' ]]; }

# down WORD...: a way of systemctl to boot the host
down() {
	await '' settled || broken "logind still prepares"
	say "systemctl $*"
	systemd_go "$@"
}
