# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# host-lib.sh - functions for scenarios, sourced as /bed/host-lib.sh inside the simulated host.
# mark NAME writes a line for the judge, say TEXT one for people; fail TEXT ends the run. Waits are await's
# (progress.sh); one for a thing of the host itself has no process: await '' COMMAND.

set -u
# shellcheck source=../progress.sh
. /bed/progress.sh
# shellcheck disable=SC2034 # progress.sh uses it
AWAIT_PAUSE_S=0.05 # the host interprets each look, and its guests wait meanwhile
: "${BED_BOOT:=1}" "${BED_SOFT_REBOOTS:=0}" "${BED_DAX:=nvdimm}"

mark() { echo "MARK $BED_BOOT $1 $(cut -d' ' -f1 /proc/uptime)"; }
say() { echo "SAY $*"; }

fail() {
	dmesg | tail -15
	echo "FAIL $*"
	exit 1
}

kvm_up() {
	modprobe -a kvm-amd || fail "kvm-amd does not load"
	await '' test -c /dev/kvm || fail "no /dev/kvm"
}

dax_node() { compgen -G '/dev/dax*.*'; }
dax_there() { dax_node >/dev/null; }

# dax_up: the region that lives through a kexec, as /dev/dax0.0 in $DAX. The first boot makes the
# namespace; later boots find its label in the region itself.
dax_up() {
	local source=nfit
	[[ $BED_DAX != memmap ]] || source=nd_e820
	modprobe -a libnvdimm "$source" nd_pmem dax_pmem dax_hmem device_dax || fail "no modules for DAX"
	if [[ $BED_BOOT == 1 ]]; then
		await '' test -e /sys/bus/nd/devices/namespace0.0 || fail "no namespace0.0"
		ndctl create-namespace -f -e namespace0.0 -m devdax -a 2M >/tmp/ndctl.log 2>&1 ||
			fail "ndctl: $(cat /tmp/ndctl.log)"
	fi
	await '' dax_there || fail "no DAX device: $(ndctl list -NuR)"
	# shellcheck disable=SC2034 # the scenario uses it
	DAX=$(dax_node)
	mark dax
}

# kexec_kernel SERIES: the newest kernel of a series on the tools disk, a full version
kexec_kernel() {
	local version
	version=$(printf '%s\n' "/t/boot/vmlinuz-$1"[.+-]* | sort -V | tail -1)
	[[ -e $version ]] || fail "no kernel $1"
	echo "${version#*/vmlinuz-}"
}

# kexec_command_line: this kernel's, for the boot after it
kexec_command_line() { sed "s/BED_BOOT=[0-9]*/BED_BOOT=$((BED_BOOT + 1))/" /proc/cmdline; }

# kexec_load SERIES; KEXEC_MODE=-s uses kexec_file_load
kexec_load() {
	local version
	version=$(kexec_kernel "$1") || exit 1
	kexec "${KEXEC_MODE:--c}" -l "/t/boot/vmlinuz-$version" --initrd="/t/boot/host-$version.img" \
		--command-line="$(kexec_command_line)" || fail "kexec -l"
	mark "kexec-loaded-$version"
}

# kexec_go: no sync and no umount, as a checkpoint has to be durable by itself
kexec_go() {
	mark kexec
	kexec -e
	fail "kexec -e returned"
}

# systemd_go [OPTION...] VERB: `systemctl VERB` (kexec, soft-reboot), which returns at once. systemd then ends the scenario;
# the next boot begins it anew.
systemd_go() {
	mark "${*: -1}"
	systemctl "$@" || fail "systemctl $*"
	STALL_S=$LIMIT_S await '' false
	fail "systemctl $* did not end this boot: $(journalctl --no-pager -b -n 20)"
}

# backwards ARRAY: turns it round
backwards() {
	local -n backwards_words=$1
	local word turned=()
	for word in "${backwards_words[@]}"; do
		turned=("$word" "${turned[@]}")
	done
	backwards_words=("${turned[@]}")
}
