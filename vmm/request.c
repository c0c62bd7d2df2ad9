/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What devices and vCPU threads tell the main thread: requests and events. vm.c, which acts on them, is
 * above the devices. */
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <string.h>

void vm_request(struct vm *vm, enum vm_request what)
{
	atomic_fetch_or(&vm->requests, (unsigned int)what);
	loop_wake(&vm->loop);
}

void vm_event(struct vm *vm, const struct vm_event *event)
{
	if (vm->on_event)
		vm->on_event(vm->event_opaque, event);
}

void vm_post_event(struct vm *vm, const struct vm_event *event)
{
	bool fits;

	pthread_mutex_lock(&vm->posted_lock);
	fits = vm->nposted < VM_EVENTS_WAITING;
	if (fits)
		vm->posted[vm->nposted++] = *event;
	pthread_mutex_unlock(&vm->posted_lock);
	if (fits)
		vm_request(vm, VM_REQUEST_EVENTS);
	else
		log_guest("events come faster than they can be reported: some are dropped");
}

void vm_report_posted(struct vm *vm)
{
	struct vm_event events[VM_EVENTS_WAITING];
	uint32_t n;

	pthread_mutex_lock(&vm->posted_lock);
	n = vm->nposted;
	memcpy(events, vm->posted, n * sizeof(*events));
	vm->nposted = 0;
	pthread_mutex_unlock(&vm->posted_lock);
	for (uint32_t i = 0; i < n; i++)
		vm_event(vm, &events[i]);
}
