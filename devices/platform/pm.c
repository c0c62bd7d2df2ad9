/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware: power button, sleep control, wake status, PM timer, and the reset control
 * port.
 * ACPI 6.5, 4.8.3. The timer counts guest time: it stands still while the guest is stopped and
 * goes on after a load where it was, whatever the host's clocks did. */
#include "devices/devices.h"
#include "devices/platform/platform.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <string.h>

/* Status and enable bits have the same positions. */
#define PM1_TMR	   0x0001
#define PM1_GBL	   0x0020
#define PM1_PWRBTN 0x0100
#define PM1_RTC	   0x0400
#define PM1_WAK	   0x8000 /* status only */
#define PM1_ENABLE (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)
#define PM1_STATUS (PM1_ENABLE | PM1_WAK)
#define PM1_WAKES  (PM1_PWRBTN | PM1_RTC)

#define CNT_SCI_EN    0x0001
#define CNT_BM_RLD    0x0002
#define CNT_SLP_TYP   0x1c00
#define CNT_SLP_EN    0x2000
#define CNT_KEPT      (CNT_BM_RLD | CNT_SLP_TYP)
#define SLP_TYP_SHIFT 10

#define RESET_CPU  0x04
#define RESET_KEPT 0x0a

enum { REG_STATUS = 0, REG_ENABLE = 2, REG_CONTROL = 4, REG_TIMER = 8 };

struct pm_state {
	uint64_t timer_ns; /* guest time that the PM timer has counted */
	uint16_t status, enable, control;
	uint16_t reset_control;
};
#define PM_STATE(F, A, V, T) \
	F(T, timer_ns)       \
	F(T, status)         \
	F(T, enable)         \
	F(T, control)        \
	F(T, reset_control)

struct pm {
	struct device dev;
	struct pm_state s;
	bool running;
	uint64_t carries;    /* changes of the top bit that PM1_TMR has been set for */
	uint64_t started_ns; /* CLOCK_MONOTONIC when the timer began to run on top of timer_ns */
	struct timer timer;  /* the next change of the top bit, if it is to interrupt */
	struct irq_line sci;
};

/* More than a century: no sum overflows. */
#define TIMER_MAX_NS (UINT64_MAX / 4)

static uint64_t ticks_of(uint64_t ns)
{
	return ns / CLOCK_NS_PER_S * PM_TIMER_HZ +
	       ns % CLOCK_NS_PER_S * PM_TIMER_HZ / CLOCK_NS_PER_S;
}

static uint64_t carries_of(uint64_t ns)
{
	return ticks_of(ns) >> (PM_TIMER_BITS - 1);
}

static const char *pm_check(const void *state)
{
	const struct pm_state *s = state;

	if (s->status & ~PM1_STATUS || s->enable & ~PM1_ENABLE || s->control & ~CNT_KEPT ||
	    s->reset_control & ~RESET_KEPT)
		return "a register has bits that do not exist";
	if (s->timer_ns > TIMER_MAX_NS)
		return "the PM timer has run for longer than a century";
	return NULL;
}
STATE_DEFINE(pm_state, PM_STATE, "pm", pm_check);

static uint64_t guest_ns(const struct pm *pm)
{
	return pm->s.timer_ns + (pm->running ? clock_now_ns() - pm->started_ns : 0);
}

/* Sets PM1_TMR if the timer's top bit has changed since the last call. */
static void catch_up(struct pm *pm)
{
	uint64_t carries = carries_of(guest_ns(pm));

	if (carries != pm->carries)
		pm->s.status |= PM1_TMR;
	pm->carries = carries;
}

/* Wakes up for the next change of the top bit if that makes an interrupt. */
static void arm_timer(const struct pm *pm)
{
	const struct pm_state *s = &pm->s;
	uint64_t left;

	if (!pm->running || !(s->enable & PM1_TMR) || s->status & PM1_TMR) {
		timer_set(&pm->timer, 0);
		return;
	}
	left = ((pm->carries + 1) << (PM_TIMER_BITS - 1)) - ticks_of(guest_ns(pm));
	/* Rounded up by a tick: never fires early. */
	timer_set(&pm->timer, (left + 1) * CLOCK_NS_PER_S / PM_TIMER_HZ);
}

static bool sci_level(const struct pm_state *s)
{
	return s->status & s->enable;
}

static void update_sci(struct pm *pm)
{
	irq_line_set(&pm->sci, sci_level(&pm->s));
}

static void timer_ready(void *opaque, uint32_t events)
{
	struct pm *pm = opaque;

	if (!timer_take(&pm->timer) || !pm->running)
		return;
	catch_up(pm);
	arm_timer(pm);
	update_sci(pm);
}

static uint8_t read_register(void *opaque, uint64_t reg)
{
	struct pm *pm = opaque;
	uint16_t value = 0;

	if (reg >= REG_TIMER)
		return (uint8_t)(ticks_of(guest_ns(pm)) >> (8 * (reg - REG_TIMER)));
	catch_up(pm);
	if (reg < REG_ENABLE)
		value = pm->s.status;
	else if (reg < REG_CONTROL)
		value = pm->s.enable;
	else if (reg < REG_CONTROL + PM1A_CNT_BYTES)
		value = pm->s.control | CNT_SCI_EN;
	return (uint8_t)(value >> (8 * (reg & 1)));
}

static void sleep_now(struct pm *pm)
{
	uint32_t type = (uint32_t)(pm->s.control & CNT_SLP_TYP) >> SLP_TYP_SHIFT;

	if (type == PM_SLP_TYP_S5)
		vm_request(pm->dev.vm, VM_REQUEST_SHUTDOWN);
	else if (type == PM_SLP_TYP_S3 && pm->dev.vm->opt->s3)
		vm_request(pm->dev.vm, VM_REQUEST_SUSPEND);
	else
		log_guest("%s: the guest asks for sleep type %u, which does not exist",
			  pm->dev.name, type);
}

static void write_register(void *opaque, uint64_t reg, uint8_t byte)
{
	uint32_t shift = 8 * (reg & 1);
	uint16_t value = (uint16_t)(byte << shift), mask = (uint16_t)(0xff << shift);
	struct pm *pm = opaque;
	struct pm_state *s = &pm->s;

	if (reg < REG_ENABLE) {
		s->status &= (uint16_t)~value;
	} else if (reg < REG_CONTROL) {
		s->enable = (uint16_t)((s->enable & ~mask) | (value & PM1_ENABLE));
	} else if (reg < REG_CONTROL + PM1A_CNT_BYTES) {
		s->control = (uint16_t)((s->control & ~mask) | (value & CNT_KEPT));
		if (value & CNT_SLP_EN)
			sleep_now(pm);
	}
}

static uint64_t pm_read(void *opaque, uint64_t offset, uint32_t size)
{
	struct pm *pm = opaque;
	uint64_t value;

	if (offset == REG_TIMER)
		return (uint32_t)ticks_of(guest_ns(pm));
	value = device_read_bytes(read_register, pm, offset, size);
	update_sci(pm);
	return value;
}

static void pm_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pm *pm = opaque;

	catch_up(pm);
	device_write_bytes(write_register, pm, offset, size, value);
	arm_timer(pm);
	update_sci(pm);
}

static uint64_t reset_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pm *pm = opaque;

	return pm->s.reset_control;
}

static void reset_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pm *pm = opaque;

	pm->s.reset_control = value & RESET_KEPT;
	if (value & RESET_CPU)
		vm_request(pm->dev.vm, VM_REQUEST_RESET);
}

static const struct bus_ops pm_bus_ops = {.read = pm_read, .write = pm_write};
static const struct bus_ops reset_bus_ops = {.read = reset_read, .write = reset_write};

static int pm_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct pm *pm = container_of(dev, struct pm, dev);
	const struct bus_region regs = {PM_BASE, PM_BYTES, &pm_bus_ops, pm, &dev->lock, dev->name};
	const struct bus_region reset = {PM_RESET_PORT, 1,	  &reset_bus_ops, pm,
					 &dev->lock,	dev->name};
	int ret = bus_add(&vm->bus, BUS_PIO, &regs, err);

	if (!ret)
		ret = bus_add(&vm->bus, BUS_PIO, &reset, err);
	if (ret)
		return ret;
	pm->sci = (struct irq_line){.irq = &vm->irq, .gsi = PM_SCI_GSI};
	ret = timer_open(&pm->timer, CLOCK_MONOTONIC, &vm->loop, timer_ready, pm, &dev->lock, err);
	if (!ret)
		vm->pm = dev;
	return ret;
}

static void pm_detach(struct device *dev)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	timer_close(&pm->timer);
	dev->vm->pm = NULL;
}

/* Stops the timer and puts its count into the state. */
static int pm_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	pm->s.timer_ns = guest_ns(pm);
	pm->running = false;
	catch_up(pm);
	timer_set(&pm->timer, 0);
	return 0;
}

static void pm_resume(struct device *dev)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	pm->started_ns = clock_now_ns();
	pm->running = true;
	pm->carries = carries_of(pm->s.timer_ns);
	arm_timer(pm);
	irq_line_renew(&pm->sci, sci_level(&pm->s));
}

/* The guest is stopped; resume starts the timer from zero. */
static void pm_reset(struct device *dev)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	pm->carries = 0;
	memset(&pm->s, 0, sizeof(pm->s));
	irq_line_renew(&pm->sci, sci_level(&pm->s));
}

/* 4.8.3.1.1 "PM1 Status Registers": set whether the guest is awake or not. */
bool pm_notify(struct vm *vm, enum pm_event event)
{
	static const uint16_t status[] = {
		[PM_NOTHING] = 0,
		[PM_BUTTON] = PM1_PWRBTN,
		[PM_ALARM] = PM1_RTC,
		[PM_WOKEN] = PM1_WAK,
	};
	struct pm *pm;
	bool wakes;

	if (!vm->pm)
		return false;
	pm = container_of(vm->pm, struct pm, dev);
	pthread_mutex_lock(&pm->dev.lock);
	pm->s.status |= status[event];
	update_sci(pm);
	wakes = pm->s.status & pm->s.enable & PM1_WAKES;
	pthread_mutex_unlock(&pm->dev.lock);
	return wakes;
}

const struct device_ops pm_ops = {
	.type = "pm",
	.state = &pm_state_desc,
	DEVICE_STRUCT(struct pm),
	.guest_gsi = PM_SCI_GSI,
	.attach = pm_attach,
	.detach = pm_detach,
	.reset = pm_reset,
	.pause = pm_pause,
	.resume = pm_resume,
};
