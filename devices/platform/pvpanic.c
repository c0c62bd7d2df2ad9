/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pvpanic: a guest's kernel reports its panic here. QEMU, docs/specs/pvpanic. */
#include "devices/device.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"

#define PVPANIC_PORT 0x505

static const struct {
	uint8_t bit;
	enum vm_event_type type;
	const char *what;
} events[] = {
	{1, VM_EVENT_GUEST_PANICKED, "the guest has panicked"},
	{2, VM_EVENT_GUEST_CRASHLOADED, "the guest has panicked and starts its crash kernel"},
};
#define EVENTS_ALL 3

struct pvpanic_state {
	uint8_t reported; /* each once after power-on, even if the guest repeats it */
};
#define PVPANIC_STATE(F, A, V, T) F(T, reported)

struct pvpanic {
	struct device dev;
	struct pvpanic_state s;
};

static const char *pvpanic_check(const void *state)
{
	const struct pvpanic_state *s = state;

	return s->reported & ~EVENTS_ALL ? "an event that does not exist" : NULL;
}
STATE_DEFINE(pvpanic_state, PVPANIC_STATE, "pvpanic", pvpanic_check);

static uint64_t pvpanic_read(void *opaque, uint64_t offset, uint32_t size)
{
	return EVENTS_ALL;
}

static void pvpanic_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pvpanic *pvpanic = opaque;
	uint8_t news = (uint8_t)(value & EVENTS_ALL & ~pvpanic->s.reported);

	pvpanic->s.reported |= news;
	for (uint32_t i = 0; i < ARRAY_SIZE(events); i++) {
		const struct vm_event event = {.type = events[i].type, .reason = "run"};

		if (!(news & events[i].bit))
			continue;
		log_guest("%s: %s", pvpanic->dev.name, events[i].what);
		vm_post_event(pvpanic->dev.vm, &event);
	}
}

static const struct bus_ops pvpanic_bus_ops = {.read = pvpanic_read, .write = pvpanic_write};

static int pvpanic_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct pvpanic *pvpanic = container_of(dev, struct pvpanic, dev);
	const struct bus_region region = {PVPANIC_PORT, 1,	    &pvpanic_bus_ops,
					  pvpanic,	&dev->lock, dev->name};

	return bus_add(&vm->bus, BUS_PIO, &region, err);
}

static void pvpanic_reset(struct device *dev)
{
	container_of(dev, struct pvpanic, dev)->s.reported = 0;
}

const struct device_ops pvpanic_ops = {
	.type = "pvpanic",
	.state = &pvpanic_state_desc,
	DEVICE_STRUCT(struct pvpanic),
	.attach = pvpanic_attach,
	.reset = pvpanic_reset,
};
