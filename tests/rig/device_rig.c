/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/device_rig.h"
#include "tests/rig/unit.h"
#include "vmm/base/loop.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

struct rig rig;
static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER; /* devices have threads */

/* What devices are compiled to call instead, see CMakeLists.txt. */
int rig_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_timerfd_create(clockid_t clock, int flags);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *spec,
			   struct itimerspec *old);

void irq_set(const struct irq *irq, uint32_t gsi, bool level)
{
	if (gsi >= RIG_GSIS)
		ck_abort_msg("GSI %u", gsi);
	rig.rises[gsi] += level && !rig.line[gsi];
	rig.line[gsi] = level;
}

void irq_signal_msi(const struct irq *irq, const struct irq_msi *msi)
{
	pthread_mutex_lock(&report_lock);
	if (rig.nmsis >= RIG_MSIS)
		memmove(rig.msi, rig.msi + 1, sizeof(rig.msi) - sizeof(rig.msi[0]));
	rig.msi[rig.nmsis < RIG_MSIS ? rig.nmsis : RIG_MSIS - 1] = *msi;
	rig.nmsis++;
	pthread_mutex_unlock(&report_lock);
}

void vm_post_event(struct vm *vm, const struct vm_event *event)
{
	ck_assert_ptr_eq(vm, &rig.vm);
	pthread_mutex_lock(&report_lock);
	rig.event = *event;
	rig.nevents++;
	pthread_mutex_unlock(&report_lock);
}

int irq_route_alloc(struct irq *irq, uint32_t *gsi, struct error *err)
{
	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++)
		if (!rig.route[i].used) {
			rig.route[i].used = true;
			*gsi = ARCH_FIRST_MSI_GSI + i;
			return 0;
		}
	ck_abort_msg("no route is left: somebody does not free them");
	return -1;
}

uint32_t rig_routes(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++)
		n += rig.route[i].used;
	return n;
}

static struct rig_route *route_of(uint32_t gsi)
{
	struct rig_route *route = &rig.route[gsi - ARCH_FIRST_MSI_GSI];

	ck_assert(gsi >= ARCH_FIRST_MSI_GSI && gsi < ARCH_FIRST_MSI_GSI + IRQ_MAX_ROUTES);
	ck_assert(route->used);
	return route;
}

void irq_route_free(struct irq *irq, uint32_t gsi)
{
	ck_assert_int_eq(route_of(gsi)->fd, 0);
	*route_of(gsi) = (struct rig_route){0};
}

void irq_route_set(struct irq *irq, uint32_t gsi, const struct irq_msi *msi)
{
	struct rig_route *route = route_of(gsi);

	route->committed = false;
	route->msi = *msi;
}

int irq_route_commit(struct irq *irq, struct error *err)
{
	if (rig.commit_fails)
		return error_set(err, -ENOMEM, "no memory for routes");
	rig.commits++;
	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++)
		rig.route[i].committed = rig.route[i].used;
	return 0;
}

int irq_attach_fd(const struct irq *irq, uint32_t gsi, int fd, struct error *err)
{
	if (rig.attach_fails)
		return error_set(err, -ENOMEM, "no memory for an irqfd");
	ck_assert_int_eq(route_of(gsi)->fd, 0);
	ck_assert(route_of(gsi)->committed);
	route_of(gsi)->fd = fd;
	return 0;
}

int irq_attach_level_fd(const struct irq *irq, uint32_t gsi, int fd, int resample_fd,
			struct error *err)
{
	struct rig_level *level = rig.level;

	ck_assert(gsi && gsi < RIG_GSIS && fd > 0 && resample_fd > 0 && fd != resample_fd);
	while (level->gsi)
		ck_assert(++level < rig.level + RIG_LEVELS);
	*level = (struct rig_level){gsi, fd, resample_fd};
	return 0;
}

void irq_detach_fd(const struct irq *irq, uint32_t gsi, int fd)
{
	if (gsi >= ARCH_FIRST_MSI_GSI) {
		ck_assert_int_eq(route_of(gsi)->fd, fd);
		route_of(gsi)->fd = 0;
		return;
	}
	for (struct rig_level *level = rig.level; level < rig.level + RIG_LEVELS; level++)
		if (level->gsi == gsi && level->fd == fd) {
			*level = (struct rig_level){0};
			return;
		}
	ck_abort_msg("descriptor %d does not drive GSI %u", fd, gsi);
}

/* As KVM has it: whole pages, and none twice. */
int memslot_add(struct memslots *slots, uint64_t gpa, uint64_t bytes, void *hva, uint32_t *slot,
		struct error *err)
{
	uint32_t free = RIG_SLOTS;

	ck_assert_ptr_eq(slots, &rig.vm.memslots);
	ck_assert(bytes && !((gpa | bytes | (uintptr_t)hva) % 4096));
	for (uint32_t i = 0; i < RIG_SLOTS; i++) {
		const struct rig_slot *s = &rig.slot[i];

		if (!s->bytes)
			free = i;
		ck_assert(gpa >= s->gpa + s->bytes || s->gpa >= gpa + bytes);
	}
	if (free == RIG_SLOTS)
		return error_set(err, -ENOSPC, "all slots are in use");
	rig.slot[free] = (struct rig_slot){gpa, bytes, hva};
	*slot = free;
	return 0;
}

int memslot_del(struct memslots *slots, uint32_t slot)
{
	ck_assert_ptr_eq(slots, &rig.vm.memslots);
	if (rig.slots_stay)
		return -ENOMEM;
	ck_assert(slot < RIG_SLOTS && rig.slot[slot].bytes);
	rig.slot[slot] = (struct rig_slot){0};
	return 0;
}

void arch_pci_layout(const struct vm *vm, struct arch_pci_layout *layout)
{
	*layout = (struct arch_pci_layout){
		.ecam_gpa = RIG_ECAM,
		.ecam_bytes = 0x100000,
		.mmio32_gpa = RIG_MMIO32,
		.mmio32_bytes = 0x10000000,
		.mmio64_gpa = RIG_MMIO64,
		.mmio64_bytes = rig.no_mmio64 ? 0 : 0x4000000000,
		.pio_port = RIG_PIO,
		.pio_bytes = 0x1000,
		.irqchip_gpa = RIG_IRQCHIP,
		.irqchip_bytes = 0x10000,
		.intx_gsi = 16,
		.nintx_gsis = 8,
	};
}

void vm_request(struct vm *vm, enum vm_request what)
{
	ck_assert_ptr_eq(vm, &rig.vm);
	rig.requests |= (uint32_t)what;
}

int rig_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t ns = clock == CLOCK_REALTIME ? rig.realtime_ns : rig.monotonic_ns;

	ts->tv_sec = (time_t)(ns / NS_PER_S);
	ts->tv_nsec = (long)(ns % NS_PER_S);
	return 0;
}

int __wrap_timerfd_create(clockid_t clock, int flags)
{
	struct rig_timer *timer = rig.timer;

	while (timer->fd > 0)
		ck_assert(++timer < rig.timer + RIG_TIMERS);
	timer->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	timer->is_realtime = clock == CLOCK_REALTIME;
	return timer->fd;
}

static uint64_t timer_clock(const struct rig_timer *timer)
{
	return timer->is_realtime ? rig.realtime_ns : rig.monotonic_ns;
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *spec, struct itimerspec *old)
{
	uint64_t ns = (uint64_t)spec->it_value.tv_sec * NS_PER_S + (uint64_t)spec->it_value.tv_nsec;
	struct rig_timer *timer = rig.timer;

	if (spec->it_value.tv_sec < 0 || spec->it_value.tv_nsec < 0 ||
	    spec->it_value.tv_nsec >= (long)NS_PER_S)
		ck_abort_msg("no kernel takes a timer of %ld s %ld ns", spec->it_value.tv_sec,
			     spec->it_value.tv_nsec);
	while (timer->fd != fd)
		if (++timer == rig.timer + RIG_TIMERS)
			ck_abort_msg("descriptor %d is no timer", fd);
	timer->armed = ns;
	timer->expiry_ns = flags & TFD_TIMER_ABSTIME ? ns : timer_clock(timer) + ns;
	return 0;
}

void rig_open(void)
{
	struct error err;

	memset(&rig, 0, sizeof(rig));
	rig.vm.opt = &rig.opt;
	rig.vm.ram.fd = -1;
	bus_init(&rig.vm.bus);
	rig.monotonic_ns = 1000 * NS_PER_S;
	rig.realtime_ns = 1700000000 * NS_PER_S; /* 2023-11-14 22:13:20, a Tuesday */
	ck_assert_int_eq(loop_init(&rig.vm.loop, NULL, NULL, &err), 0);
}

static void detach(void)
{
	devices_detach(&rig.vm);
	rig.dev = NULL;
	bus_close(&rig.vm.bus);
	bus_init(&rig.vm.bus);
	memset(rig.timer, 0, sizeof(rig.timer));
}

void rig_close(void)
{
	detach();
	ram_close(&rig.vm.ram);
	loop_close(&rig.vm.loop);
}

void rig_ram(uint64_t bytes)
{
	const struct ram_config config = {.size_bytes = bytes};
	struct error err = {""};

	ck_assert_msg(!ram_open(&rig.vm.ram, &config, &err), "%s", err.msg);
	ck_assert_msg(!ram_add_region(&rig.vm.ram, 0, bytes, &err), "%s", err.msg);
}

const char *rig_refuses(int code, const char *const *word)
{
	static struct error err;

	ck_assert_int_eq(devices_attach(&rig.vm, &err), code);
	unit_says(err.msg, word);
	detach();
	return err.msg;
}

void rig_attach(const struct device_ops *ops)
{
	struct device *dev = calloc(1, ops->bytes);
	struct error err = {""};

	ck_assert_ptr_nonnull(dev);
	pthread_mutex_init(&dev->lock, NULL);
	dev->ops = ops;
	dev->vm = &rig.vm;
	snprintf(dev->name, sizeof(dev->name), "%s0", ops->name ? ops->name : ops->type);
	ck_assert_msg(!ops->attach(dev, &rig.vm, &err), "%s", err.msg);
	ops->reset(dev);
	rig.dev = rig.vm.device[rig.vm.ndevices++] = dev;
	rig.alone = true;
}

/* The steps of CPR, by the functions that CPR calls. */
void rig_reload(void)
{
	const struct device_ops *ops = rig.alone ? rig.dev->ops : NULL;
	char name[sizeof(rig.dev->name)] = "";
	const void *saved[DEVICES_MAX] = {NULL};
	uint8_t *copy[DEVICES_MAX] = {NULL};
	uint32_t n = rig.vm.ndevices;
	struct error err = {""};

	ck_assert_msg(!devices_pause(&rig.vm, clock_now_ns() + 10 * NS_PER_S, &err), "%s", err.msg);
	for (uint32_t i = 0; i < n; i++) {
		const struct state_desc *desc = rig.vm.device[i]->ops->state;

		saved[i] = copy[i] = malloc(desc->size);
		memcpy(copy[i], device_state(rig.vm.device[i]), desc->size);
		ck_assert_msg(!state_check(desc, copy[i], &err), "saved, but refused: %s", err.msg);
	}
	if (rig.dev)
		strcpy(name, rig.dev->name);
	detach();
	memset(rig.line, 0, sizeof(rig.line));
	if (ops)
		rig_attach(ops);
	else
		ck_assert_msg(!devices_attach(&rig.vm, &err), "%s", err.msg);
	rig.dev = devices_find(&rig.vm, name);
	ck_assert_uint_eq(rig.vm.ndevices, n);
	ck_assert_msg(!devices_compare(&rig.vm, saved, true, NULL, &err), "%s", err.msg);
	devices_commit(&rig.vm, saved);
	for (uint32_t i = 0; i < n; i++)
		free(copy[i]);
	ck_assert_msg(!devices_post_load(&rig.vm, &err), "%s", err.msg);
	devices_resume(&rig.vm);
}

static void deadline(void *opaque, uint32_t events)
{
	loop_quit(&rig.vm.loop);
}

void rig_spin(void)
{
	const struct itimerspec spec = {.it_value.tv_nsec = 1000000};
	/* The kernel's own, whatever the test wraps. */
	int fd = (int)syscall(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC);

	syscall(SYS_timerfd_settime, fd, 0, &spec, NULL);
	ck_assert_int_eq(loop_add(&rig.vm.loop, fd, EPOLLIN, deadline, NULL, NULL), 0);
	rig.vm.loop.stop = false;
	loop_run(&rig.vm.loop);
	loop_del(&rig.vm.loop, fd);
	close(fd);
}

static int unix_socket(const char *path, int flags, struct sockaddr_un *addr)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	ck_assert_uint_lt(strlen(path), sizeof(addr->sun_path));
	strcpy(addr->sun_path, path);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

int rig_connect(const char *path)
{
	struct sockaddr_un addr;
	int fd = unix_socket(path, 0, &addr);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

int rig_listen(const char *path)
{
	struct sockaddr_un addr;
	int fd = unix_socket(path, SOCK_NONBLOCK, &addr);

	unlink(path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	return fd;
}

void rig_spins(int n)
{
	while (n--)
		rig_spin();
}

/* The timer that is due next within ns from now; NULL: none. */
static struct rig_timer *next_timer(uint64_t ns, uint64_t *left_ns)
{
	struct rig_timer *next = NULL;

	*left_ns = ns;
	for (struct rig_timer *timer = rig.timer; timer < rig.timer + RIG_TIMERS; timer++) {
		uint64_t now = timer_clock(timer), left;

		left = timer->expiry_ns > now ? timer->expiry_ns - now : 0;
		if (!timer->armed || left > *left_ns)
			continue;
		next = timer;
		*left_ns = left;
	}
	return next;
}

void rig_advance(uint64_t ns)
{
	const uint64_t one = 1;
	struct rig_timer *timer;
	uint64_t left;

	do {
		timer = next_timer(ns, &left);
		rig.monotonic_ns += left;
		rig.realtime_ns += left;
		ns -= left;
		if (!timer)
			break;
		timer->armed = false;
		ck_assert_int_eq(write(timer->fd, &one, sizeof(one)), sizeof(one));
		rig_spin();
	} while (true);
}

void rig_out(uint16_t port, uint32_t size, uint32_t value)
{
	bus_access(&rig.vm.bus, BUS_PIO, port, &value, size, true);
}

uint32_t rig_in(uint16_t port, uint32_t size)
{
	uint32_t value = 0;

	bus_access(&rig.vm.bus, BUS_PIO, port, &value, size, false);
	return value;
}

void rig_mmio_write(uint64_t gpa, uint32_t size, uint64_t value)
{
	bus_access(&rig.vm.bus, BUS_MMIO, gpa, &value, size, true);
}

uint64_t rig_mmio_read(uint64_t gpa, uint32_t size)
{
	uint64_t value = 0;

	bus_access(&rig.vm.bus, BUS_MMIO, gpa, &value, size, false);
	return value;
}
