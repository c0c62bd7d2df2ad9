/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/device_rig.h - a machine around one device: real bus and event loop, and in place of the
 * host interrupt lines, requests, clocks and timers that a test sees and moves.
 * Owns: devices, guest RAM and the loop, from rig_open() to rig_close().
 * Threads: one; what a device's own thread reports here may be read while that one rests.
 * Units: ns.
 * Errors: a failed step fails the test. */
#ifndef TESTS_RIG_DEVICE_RIG_H
#define TESTS_RIG_DEVICE_RIG_H
#include "devices/devices.h"
#include "vmm/vm.h"
#include <check.h>

#define RIG_GSIS   24
#define RIG_TIMERS 8
#define RIG_MSIS   64
#define RIG_LEVELS 4
#define RIG_SLOTS  16
/* Where PCI lies in the rig; arch.c's layout is another, so that nobody relies on it. */
#define RIG_ECAM    0x80000000u
#define RIG_MMIO32  0x90000000u
#define RIG_MMIO64  0x4000000000u
#define RIG_PIO	    0xa000u
#define RIG_IRQCHIP 0xf0000000u

struct rig {
	struct vm vm;
	struct options opt;
	struct device *
		dev; /* the one that is tested: of rig_attach() or driver_start(); a reload renews it */
	bool alone; /* of rig_attach() */
	bool line[RIG_GSIS];
	uint32_t rises[RIG_GSIS];
	struct irq_msi msi[RIG_MSIS]; /* the last of them, oldest first */
	uint32_t nmsis;		      /* ever sent */
	struct rig_route {
		bool used, committed;
		struct irq_msi msi;
		int fd; /* 0: none */
	} route[IRQ_MAX_ROUTES];
	bool commit_fails, attach_fails; /* of routes, of an eventfd to one */
	uint32_t commits;		 /* of routes */
	/* A line that is driven by an eventfd; 0: none. */
	struct rig_level {
		uint32_t gsi;
		int fd, resample_fd;
	} level[RIG_LEVELS];
	struct rig_slot {
		uint64_t gpa, bytes; /* 0: free */
		void *hva;
	} slot[RIG_SLOTS]; /* memslots of devices */
	bool slots_stay;   /* none can be taken off */
	bool no_mmio64;
	struct vm_event event; /* the last one that was posted */
	uint32_t nevents;
	uint32_t requests;
	uint64_t monotonic_ns, realtime_ns;
	struct rig_timer {
		int fd; /* 0: free */
		bool is_realtime, armed;
		uint64_t expiry_ns;
	} timer[RIG_TIMERS];
};

extern struct rig rig;

void rig_open(void);
void rig_close(void);
/* Guest RAM from GPA 0 on, up to rig_close(). */
void rig_ram(uint64_t bytes);
/* devices_attach() fails with this code, and its message, which is returned, has all of these words, which end
 * with NULL. */
const char *rig_refuses(int code, const char *const *word);
/* What devices_attach() does, for this device alone; the device is paused. */
void rig_attach(const struct device_ops *ops);
/* Pauses, and puts the states into new devices in the place of these, as a load does; all interrupt lines
 * are low until the new devices say otherwise. */
void rig_reload(void);
/* Both clocks go on; timers that expire on the way fire at their time. */
void rig_advance(uint64_t ns);
/* Serves the event loop for about a millisecond of real time. */
void rig_spin(void);
void rig_spins(int n);
#define RIG_WAIT_FOR(condition)                                               \
	do {                                                                  \
		for (int spins_ = 0; !(condition) && spins_ < 3000; spins_++) \
			rig_spin();                                           \
		ck_assert(condition);                                         \
	} while (0)

/* Stream sockets at this path: a client; a listener, which does not block. */
int rig_connect(const char *path);
int rig_listen(const char *path);
/* How many routes of interrupts are in use. */
uint32_t rig_routes(void);
void rig_mmio_write(uint64_t gpa, uint32_t size, uint64_t value);
uint64_t rig_mmio_read(uint64_t gpa, uint32_t size);
void rig_out(uint16_t port, uint32_t size, uint32_t value);
uint32_t rig_in(uint16_t port, uint32_t size);
static inline void outb(uint16_t port, uint8_t value)
{
	rig_out(port, 1, value);
}
static inline uint8_t inb(uint16_t port)
{
	return (uint8_t)rig_in(port, 1);
}
#endif
