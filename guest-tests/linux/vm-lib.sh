# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash source=../bed/host-lib.sh disable=SC2034
# vm-lib.sh - functions for scenarios about guests of Stasis, inside the simulated host.
# VMs are numbers, 1 or 2. A VM's serial port is a pair of fifos, vmN.in and vmN.out; what the guest
# prints goes into /tmp/vmN.log for the scenario and out of the host into guestN.log for the judge.
# The judges read the marks save-vmN, saved-vmN, start-vmN, resume-vmN, resumed-vmN, in-flight-vmN-COUNT,
# journal-vmN-DISK-NUMBER.
. /bed/host-lib.sh

vm_dir=/run/stasis
declare -a vm_pid=() vm_loaded=()
vm_faults='' # set by a scenario whose guests mean their triple faults
mkdir -p "$vm_dir"
trap vm_end EXIT

# vm_ctl VM [OPTION...] COMMAND [KEY=VALUE...]: a command to a VM; one client at a time
vm_ctl() {
	local vm=$1 options=()
	shift
	while [[ ${1-} == --* ]]; do
		options+=("$1" "$2")
		shift 2
	done
	stasisctl --timeout "$LIMIT_S" "${options[@]}" "$vm_dir/vm$vm.sock" "$@"
}

vm_status() { vm_ctl "$1" --get /status query-status; }
vm_is() { [[ $(vm_status "$1" 2>/dev/null) == "$2" ]]; }
vm_alive() { kill -0 "${vm_pid[$1]}" 2>/dev/null; }

# vm_where VM: what its guest does, for one that says nothing any more: why and where it leaves KVM_RUN
# within a second, which CPU time its threads have had, and where its console's reader waits
vm_where() {
	local trace=/sys/kernel/tracing thread
	mount -t tracefs tracefs "$trace" 2>/dev/null
	: >"$trace/trace"
	echo 1 >"$trace/events/kvm/kvm_exit/enable" && sleep 1 && echo 0 >"$trace/events/kvm/kvm_exit/enable"
	echo "$(grep -c kvm_exit: "$trace/trace") exits, the last ones:"
	tail -n 25 "$trace/trace" | tee "/tmp/vm$1.exits"
	for thread in /proc/"${vm_pid[$1]}"/task/*; do
		echo "$(cat "$thread/comm") in $(cat "$thread/wchan"), ticks $(cut -d ' ' -f 14,15 "$thread/stat")"
	done
	for thread in $(pidof tee); do
		echo "tee in $(cat "/proc/$thread/wchan")"
	done
}

# vm_is_lost VM: the emulated CPU has lost its guest, which it does under any VMM (../bed/README.md): a triple fault
# of a guest that was never loaded nor woken, or one instruction for ever, with a fault in the walk of the guest's page tables
# (SVM's exit code and bit 33 of EXITINFO1) each time. Or its own driver has (vm_driver_oopsed).
vm_is_lost() {
	! vm_driver_oopsed "/tmp/vm$1.log" || return 0
	if [[ -z $vm_faults && -z ${vm_loaded[$1]-} ]] && grep -q 'triple fault' "/tmp/vm$1.err" 2>/dev/null; then
		return 0
	fi
	[[ $(sed -n 's/.*reason npf rip \([^ ]*\) info1 0x0000000[23].*/\1/p' "/tmp/vm$1.exits" 2>/dev/null |
		sort | uniq -c | awk '{ print $1 }') == 25 ]]
}

# vm_driver_oopsed LOG: the race of virtio_net at its wake-up, which any conforming device triggers (README.md, "virtio_net
# and sleep"). Only this oops, inside the resume, in a log in which neither PM nor a ring has complained.
vm_driver_oopsed() {
	local text
	for text in 'NULL pointer dereference, address: 0*48' 'RIP: 0010:virtqueue_disable_cb' \
		'  start_xmit+.*\[virtio_net\]' ' __device_resume+'; do
		grep -q -e "$text" "$1" 2>/dev/null || return 1
	done
	! grep -q -e 'PM: failed to' -e 'PM: dpm_run_callback()' -e 'is not a head' -e 'out of range' "$1"
}

# vm_end: whatever ends the scenario; 125: nothing was judged
# shellcheck disable=SC2317 # a trap calls it
vm_end() {
	local status=$? vm
	for vm in 1 2; do
		! vm_is_lost "$vm" || { echo "LOST vm$vm: by the emulated CPU, or by its own virtio_net" && status=125; }
	done
	exit "$status"
}

# vm_fail VM TEXT: with what stasis and the guest said last
vm_fail() {
	echo "--- vm$1 now:"
	vm_where "$1" 2>&1
	echo "--- stasis, vm$1:"
	tail -n 20 "/tmp/vm$1.err"
	echo "--- guest, vm$1:"
	tail -n 5 "/tmp/vm$1.log"
	fail "vm$1: $2"
}

# vm_await VM TEXT COMMAND...: waits until COMMAND is true; fails with TEXT when the guest stands still (progress.sh)
vm_await() {
	local vm=$1 text=$2 vm_looked=$SECONDS AWAIT_OUTPUT=("/tmp/vm$1.log" "/tmp/vm$1.err")
	shift 2
	await "${vm_pid[vm]-}" vm_look "$vm" "$@" || vm_fail "$vm" "$text"
}

# vm_look VM COMMAND...: is it true? No need to wait on if stasis has ended, the guest has found something wrong, which
# the judge forgives in no case, or it is lost and spins for ever.
vm_look() {
	local vm=$1
	shift
	"$@" && return
	if [[ -n ${vm_pid[vm]-} ]] && ! vm_alive "$vm"; then
		await '' vm_quiet "$vm" # what it said last may still be on its way
		"$@" && return
		vm_fail "$vm" "stasis ended"
	fi
	((SECONDS - vm_looked >= 60)) || return
	vm_looked=$SECONDS
	vm_where "$vm" >/dev/null 2>&1
	! vm_is_lost "$vm" || vm_fail "$vm" "lost"
	! vm_said "$vm" '^BAD' || vm_fail "$vm" "the guest says: $(grep -m 3 '^BAD' "/tmp/vm$vm.log")"
	return 1
}

# vm_quiet VM: its guest prints nothing for a second
vm_quiet() {
	local size
	size=$(stat -c %s "/tmp/vm$1.log")
	sleep 1
	[[ $(stat -c %s "/tmp/vm$1.log") == "$size" ]]
}

# vm_console VM: before the VM's first start in this boot of the host
vm_console() {
	local port
	for port in /sys/class/virtio-ports/*; do
		[[ $(cat "$port/name") != "guest$1" ]] || break
	done
	mkfifo "$vm_dir/vm$1.in" "$vm_dir/vm$1.out"
	: >"/tmp/vm$1.log"
	tee -a "/tmp/vm$1.log" <>"$vm_dir/vm$1.out" >"/dev/${port##*/}" &
}

# vm_start VM OPTION...: starts a VMM and waits for its QMP
vm_start() {
	local vm=$1
	shift
	mark "start-vm$vm"
	vm_loaded[vm]=''
	stasis --name "vm$vm" --qmp "unix:$vm_dir/vm$vm.sock" "$@" \
		<>"$vm_dir/vm$vm.in" >"$vm_dir/vm$vm.out" 2>>"/tmp/vm$vm.err" &
	vm_pid[vm]=$!
	vm_await "$vm" "no QMP: $*" vm_answers "$vm"
}
vm_answers() { vm_ctl "$1" query-status >/dev/null 2>&1; }

# vm_ticks VM [COUNT]: waits for that many ticks from now on
vm_ticks() {
	vm_await "$1" "the guest does not go on" vm_said "$1" '^tick' $(($(grep -c '^tick' "/tmp/vm$1.log") + ${2:-10}))
}

# vm_said VM TEXT [COUNT]: has the guest printed that many lines with a text?
vm_said() { [[ $(grep -c -e "$2" "/tmp/vm$1.log") -ge ${3:-1} ]]; }

# vm_prints VM TEXT [COUNT]: waits until it has
vm_prints() { vm_await "$1" "the guest does not print '$2'" vm_said "$@"; }

# vm_type VM TEXT: a line on the serial console
vm_type() { echo "$2" >"$vm_dir/vm$1.in"; }

# vm_run VM COMMAND: a shell command in a guest with a root disk; its "status N: first line" in $vm_answer
vm_run() {
	local log=/tmp/vm$1.log answer="GUEST ran $2: status" before
	before=$(grep -cF "$answer" "$log")
	vm_type "$1" "run $2"
	vm_await "$1" "no answer to '$2'" vm_ran "$1" "$answer" "$before"
	vm_answer=$(grep -F "$answer" "$log" | tail -n 1 | sed 's/.*: status/status/')
}
vm_ran() { [[ $(grep -cF "$2" "/tmp/vm$1.log") -gt $3 ]]; }

# vm_ended VM STATUS: waits for the VMM to end, with that exit status
vm_ended() {
	local status
	await "${vm_pid[$1]}" vm_dead "$1" || vm_fail "$1" "stasis does not end"
	wait "${vm_pid[$1]}"
	status=$?
	vm_pid[$1]=
	[[ $status == "$2" ]] || vm_fail "$1" "stasis ended with status $status, not $2"
}
vm_dead() { ! vm_alive "$1"; }

# vm_took VM TEXT: marks a time that stasis itself has logged last, TEXT with N for the number
vm_took() {
	local us
	us=$(sed -n "s/.*${2/N/\\([0-9]*\\)[.]\\([0-9]*\\) ms}.*/\\1\\2/p" "/tmp/vm$1.err" | tail -n 1)
	mark "stasis-us-vm$1-$us"
}

# vm_save VM FILE MODE [KEY=VALUE...]: more of cprsave's arguments
vm_save() {
	local said status=0
	[[ $3 != reboot ]] || status=3
	said=$(wc -l <"/tmp/vm$1.err")
	! vm_is_lost "$1" || exit 125
	mark "save-vm$1"
	vm_ctl "$1" cprsave "file=$2" "mode=$3" "${@:4}" || vm_fail "$1" "cprsave"
	vm_ended "$1" $status
	mark "saved-vm$1"
	vm_took "$1" 'cprsave: .*: stopped N'
	mark "in-flight-vm$1-$(tail -n +$((said + 1)) "/tmp/vm$1.err" |
		sed -n 's/.*: drained \([0-9]*\) requests.*/\1/p' | awk '{ n += $1 } END { print n + 0 }')"
}

# vm_load VM FILE STATUS: into a started VM; the guest is in that run state afterwards
vm_load() {
	vm_is "$1" inmigrate || vm_fail "$1" "does not wait for cprload: $(vm_status "$1")"
	[[ $3 != running ]] || mark "resume-vm$1"
	vm_loaded[$1]=1
	vm_ctl "$1" cprload "file=$2" || vm_fail "$1" "cprload"
	vm_took "$1" 'inmigrate, N'
	vm_took "$1" 'this load took N'
	[[ $3 != running ]] || mark "resumed-vm$1"
	vm_is "$1" "$3" || vm_fail "$1" "after cprload: $(vm_status "$1"), not $3"
}

vm_cont() {
	mark "resume-vm$1"
	vm_ctl "$1" cont || vm_fail "$1" "cont"
	mark "resumed-vm$1"
}

# vm_refuses VM TEXT COMMAND...: fails with that text in the message, and the guest goes on
vm_refuses() {
	local vm=$1 text=$2 answer
	shift 2
	if answer=$(vm_ctl "$vm" "$@" 2>&1); then
		vm_fail "$vm" "not refused: $*"
	fi
	[[ $answer == *$text* ]] || vm_fail "$vm" "$*: says '$answer', without '$text'"
	say "vm$vm refuses $*: $answer"
	vm_is "$vm" running || vm_fail "$vm" "after a refused $1: $(vm_status "$vm")"
	vm_ticks "$vm" 5
}

# vm_bridge: a bridge with the host's network card in it; it is layer 2 only, so the host needs no
# address. What goes out is late by 100 ms, as to a peer that is far away.
vm_bridge() {
	modprobe -a virtio_net bridge tun vhost_net sch_netem || fail "no modules for the network"
	await '' test -e /sys/class/net/eth0 || fail "no eth0"
	ip link add br0 type bridge stp_state 0 || fail "no br0"
	tc qdisc add dev eth0 root netem delay 100ms || fail "no netem"
	ip link set eth0 master br0 up || fail "eth0 does not come up"
	ip link set br0 up || fail "br0 does not come up"
}

# vm_tap NAME [WORD...]: a tap in the bridge; WORD: multi_queue
vm_tap() {
	ip tuntap add dev "$1" mode tap "${@:2}" || fail "no tap $1"
	ip link set "$1" master br0 up || fail "tap $1 does not come up"
}

# driver_of ADDRESS: of a PCI function
driver_of() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }

# vm_bind ADDRESS: gives a PCI function of the host to vfio-pci
vm_bind() {
	local device=/sys/bus/pci/devices/$1
	modprobe -a vfio_iommu_type1 vfio-pci || fail "no modules for VFIO"
	[[ -e $device/iommu_group ]] || fail "$1 has no IOMMU group"
	echo vfio-pci >"$device/driver_override"
	[[ ! -e $device/driver ]] || echo "$1" >"$device/driver/unbind"
	echo "$1" >/sys/bus/pci/drivers_probe
	[[ $(driver_of "$1") == vfio-pci ]] || fail "$1 is not bound to vfio-pci: $(dmesg | tail -n 3)"
}

# vm_frames VM COUNT: waits until the guest's TCP connection has brought that many frames more. The
# peer tries again ever more rarely while nobody answers.
vm_frames() {
	vm_await "$1" "no $2 frames more on its TCP connection" vm_has_frames "$1" $(($(vm_received "$1") + $2))
}
vm_has_frames() { [[ $(vm_received "$1") -ge $2 ]]; }
vm_received() { sed -n 's/^io .*received=\([0-9]*\).*/\1/p' "/tmp/vm$1.log" | tail -n 1 | grep . || echo 0; }

# One client of a VM's console, port or QMP socket. It stays connected until what it waits for comes: one that came
# back to ask again would lose the answers of a slow guest.
# vm_connect SOCKET, vm_send LINE, vm_hears VM TEXT, vm_hang_up
vm_connect() {
	[[ -p $vm_dir/client.in ]] || { mkfifo "$vm_dir/client.in" && exec {vm_client_in}<>"$vm_dir/client.in"; }
	: >/tmp/client.log
	socat - "UNIX-CONNECT:$1" <&"$vm_client_in" >/tmp/client.log &
	vm_client=$!
}
vm_send() { echo "$1" >&"$vm_client_in"; } # open for reading here, too: it never blocks
vm_hears() {
	vm_await "$1" "nobody says '$2'" vm_heard "$2"
	grep -q -e "$2" /tmp/client.log || vm_fail "$1" "hangs up without '$2': $(cat /tmp/client.log)"
}
vm_heard() { grep -q -e "$1" /tmp/client.log || ! kill -0 "$vm_client" 2>/dev/null; }
vm_hang_up() {
	kill "$vm_client" 2>/dev/null
	wait "$vm_client"
}

# vm_echoes VM SOCKET: what is sent to a console or port comes back
vm_echoes() {
	local text=hello-$RANDOM
	vm_connect "$2"
	vm_send "$text"
	vm_hears "$1" "$text"
	vm_hang_up
}

# vm_expect_event VM, then what brings it about, then vm_event VM NAME TEXT: the event with a text in it
vm_expect_event() {
	vm_connect "$vm_dir/vm$1.sock"
	vm_send '{"execute": "qmp_capabilities"}'
	vm_hears "$1" '"return"'
}
vm_event() {
	vm_hears "$1" "\"event\": *\"$2\".*$3"
	vm_hang_up
}

# vm_pings VM: waits until the guest's agent answers. Each try has more time than the one before: what it was asked
# before it ran is lost.
vm_pings() {
	vm_patience=1
	vm_await "$1" "the guest agent does not answer" vm_ping "$1"
}
vm_ping() {
	vm_patience=$((vm_patience < LIMIT_S ? vm_patience * 2 : LIMIT_S))
	vm_agent "$1" --timeout "$vm_patience" guest-ping >/dev/null 2>&1
}
# vm_agent VM [OPTION...] COMMAND
vm_agent() { stasisctl --agent --timeout "$LIMIT_S" "${@:2:$#-2}" "$vm_dir/vm$1.agent" "${!#}"; }

# vm_journal VM NAME FILE: marks the highest number that a guest's journal has on its disk
vm_journal() {
	mark "journal-vm$1-$2-$(grep -ao 'journal [0-9]*' "$3" | awk '$2 > n { n = $2 } END { print n + 0 }')"
}
