/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guest.h - the Linux guest's payload: a static /init that proves on its serial console that it
 * goes on: one line per tick, and a line with BAD for whatever it finds wrong.
 * Owns: nothing shared but the output, which print() and bad() keep whole line by whole line.
 * Threads: every *_start() starts its own; *_poll() and the getters are for the tick loop.
 * Units: _ns, _ms.
 * Errors: a guest without what it needs says BAD. */
#ifndef GUEST_H
#define GUEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* init.c */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);
__attribute__((format(printf, 1, 2))) void bad(const char *format, ...);
long setting(const char *name, long otherwise);
bool read_line(const char *path, char *line, size_t size);
void thread_start(void *(*run)(void *), void *argument);
void power_off(void);
/* Told to come to an end: what writes to disks does so. */
bool finishing(void);
void finish(void);

/* memory.c: a patterned block, a part of it checked and written anew each tick */
void memory_start(long mib);
bool memory_poll(unsigned long tick, bool all);

/* clocks.c: time never goes back, on one CPU or across CPUs, and does not jump */
uint64_t clock_ns(clockid_t id);
void clocks_start(unsigned int cpus);
bool clocks_poll(unsigned int period_ms, char *text, size_t size);
void clocks_print(void);

/* fpu.c: a computation whose result is known, with its values in vector registers */
void fpu_start(void);
bool fpu_good(void);

/* kmsg.c: what the kernel complains about */
void kmsg_start(void);
void kmsg_poll(void);

/* console.c: commands typed on the serial console, and the ACPI power button */
void console_start(void);
void button_start(void);

/* What lives on virtio devices; without its setting each does nothing. The polls say how far they are,
 * for the line before the tick's. */
/* disks.c: fio --verify on a disk, pass by pass until told to finish; */
void fio_start(const char *path);
size_t fio_poll(char *text, size_t size);
/* and the last write that each of the disks has acknowledged */
void journal_start(const char *disks);
size_t journal_poll(char *text, size_t size);
/* net.c: a TCP connection to a peer outside the host */
void net_start(long to_port, unsigned int period_ms);
void net_stop(void);
size_t net_poll(char *text, size_t size);
/* port.c: echo on virtio consoles and ports */
void port_start(void);
/* vsock.c: connections to the host */
void vsock_start(long port);
#endif
