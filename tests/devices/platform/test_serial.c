/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The UART register by register, with a host end that takes as much as a test lets it. */
#include "devices/host/chardev.h"
#include "devices/platform/platform.h"
#include "tests/rig/device_rig.h"
#include "tests/rig/unit.h"
#include <string.h>

#define GSI 4
enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

extern const struct device_ops serial_ops;

static struct {
	const struct chardev_ops *ops;
	void *opaque;
	uint32_t budget, naccepts;
	bool paused;
	char out[256];
	uint32_t nout;
} host;

/* The rig's own table: the others are not linked. */
const struct device_ops *const device_table[] = {&serial_ops};
const uint32_t device_table_rows = 1;

int chardev_open(struct chardev *chr, const struct chardev_config *config, struct vm *vm,
		 const struct chardev_ops *ops, void *opaque, pthread_mutex_t *lock,
		 struct error *err)
{
	memset(&host, 0, sizeof(host));
	host.ops = ops;
	host.opaque = opaque;
	host.budget = UINT32_MAX;
	return 0;
}

void chardev_close(struct chardev *chr)
{
}

uint32_t chardev_write(struct chardev *chr, const uint8_t *data, uint32_t n)
{
	n = n < host.budget ? n : host.budget;
	ck_assert_uint_le(host.nout + n, sizeof(host.out));
	memcpy(host.out + host.nout, data, n);
	host.nout += n;
	host.budget -= n;
	return n;
}

void chardev_accept_input(struct chardev *chr)
{
	host.naccepts++;
}

void chardev_pause(struct chardev *chr)
{
	host.paused = true;
}

void chardev_resume(struct chardev *chr)
{
	host.paused = false;
}

void chardev_query(const struct chardev *chr, const char *label, struct chardev_info *info)
{
	strcpy(info->label, label);
}

static void type(const char *text)
{
	ck_assert_uint_ge(host.ops->room(host.opaque), strlen(text));
	host.ops->receive(host.opaque, (const uint8_t *)text, (uint32_t)strlen(text));
}

static void let_write(uint32_t n)
{
	host.budget = n;
	host.ops->writable(host.opaque);
}

static void start(uint8_t fcr, uint8_t ier)
{
	rig_attach(&serial_ops);
	serial_ops.resume(rig.dev);
	outb(MCR, 0x08); /* OUT2 */
	outb(FCR, fcr);
	outb(IER, ier);
}

TEST(query)
{
	struct chardev_info info;

	rig_attach(&serial_ops);
	ck_assert(serial_query(rig.dev, 0, &info));
	ck_assert_str_eq(info.label, "serial0");
	ck_assert(info.frontend_open);
	ck_assert(!serial_query(rig.dev, 1, &info));
}

TEST(power_on)
{
	rig_attach(&serial_ops);
	serial_ops.resume(rig.dev);
	ck_assert_uint_eq(inb(IER), 0);
	ck_assert_uint_eq(inb(IIR), 0x01);
	ck_assert_uint_eq(inb(LCR), 0);
	ck_assert_uint_eq(inb(MCR), 0);
	ck_assert_uint_eq(inb(LSR), 0x60);
	ck_assert_uint_eq(inb(MSR), 0xb0);
	outb(SCR, 0x5a);
	ck_assert_uint_eq(inb(SCR), 0x5a);
	outb(IER, 0xff);
	ck_assert_uint_eq(inb(IER), 0x0f);
	outb(MCR, 0xef);
	ck_assert_uint_eq(inb(MCR), 0x0f);
}

TEST(divisor_latch)
{
	start(0, 0);
	outb(LCR, 0x83);
	rig_out(DATA, 2, 0x1234); /* two byte accesses */
	ck_assert_uint_eq(inb(DATA), 0x34);
	ck_assert_uint_eq(inb(IER), 0x12);
	outb(LCR, 0x03);
	ck_assert_uint_eq(inb(IER), 0);
	ck_assert_uint_eq(host.nout, 0);
	outb(LCR, 0x83);
	ck_assert_uint_eq(rig_in(DATA, 2), 0x1234);
}

TEST(transmit)
{
	start(0x01, 0x02);
	ck_assert(rig.line[GSI]); /* enabling the interrupt of an empty transmitter raises it */
	ck_assert_uint_eq(inb(IIR), 0xc2);
	ck_assert(!rig.line[GSI]); /* reading it is the acknowledge */
	ck_assert_uint_eq(inb(IIR), 0xc1);
	outb(DATA, 'a');
	ck_assert_uint_eq(host.nout, 1);
	ck_assert(rig.line[GSI]);
	outb(IER, 0);
	ck_assert(!rig.line[GSI]);
	ck_assert_uint_eq(inb(IIR), 0xc1);
	outb(IER, 2); /* and each time anew */
	ck_assert_uint_eq(inb(IIR), 0xc2);
}

TEST(transmit_blocked)
{
	start(0x01, 0x02);
	inb(IIR);
	host.budget = 3;
	for (int i = 0; i < 18; i++)
		outb(DATA, (uint8_t)('a' + i));
	ck_assert_uint_eq(host.nout, 3);
	ck_assert_uint_eq(inb(LSR) & 0x60, 0);
	inb(IIR);
	ck_assert(!rig.line[GSI]);
	let_write(10);
	ck_assert_uint_eq(inb(LSR) & 0x60, 0);
	ck_assert(!rig.line[GSI]); /* not before the FIFO is empty */
	rig_reload();		   /* what is unsent survives in the FIFO */
	ck_assert_uint_eq(inb(LSR) & 0x60, 0x60);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(host.nout, 5); /* a new host end: it got the remaining bytes */
	ck_assert_int_eq(memcmp(host.out, "nopqr", 5), 0);
}

TEST(transmit_full)
{
	start(0x01, 0);
	host.budget = 0;
	for (int i = 0; i < 20; i++)
		outb(DATA, (uint8_t)('a' + i));
	let_write(UINT32_MAX);
	ck_assert_uint_eq(host.nout, 16);
	ck_assert_int_eq(memcmp(host.out, "abcdefghijklmnop", 16), 0);
	outb(FCR, 0); /* without FIFO: one holding register */
	host.budget = 0;
	outb(DATA, 'y');
	outb(DATA, 'z');
	let_write(UINT32_MAX);
	ck_assert_uint_eq(host.nout, 17);
	ck_assert_int_eq(host.out[16], 'z');
}

TEST(clear_fifos)
{
	start(0x01, 0x02);
	host.budget = 0;
	outb(DATA, 'x');
	type("abc");
	inb(IIR);
	ck_assert(!rig.line[GSI]);
	outb(FCR, 0x07);
	ck_assert_uint_eq(inb(LSR), 0x60);
	ck_assert_uint_eq(inb(IIR), 0xc2); /* the transmitter is empty again */
	let_write(UINT32_MAX);
	ck_assert_uint_eq(host.nout, 0);
	type("abc");
	outb(FCR, 0x00); /* switching the FIFO off clears it too */
	ck_assert_uint_eq(inb(LSR), 0x60);
	ck_assert_uint_eq(inb(IIR) & 0xc0, 0);
}

TEST(receive_single)
{
	start(0x00, 0x01);
	ck_assert_uint_eq(host.ops->room(host.opaque), 1);
	type("q");
	ck_assert_uint_eq(host.ops->room(host.opaque), 0);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(inb(IIR), 0x04);
	ck_assert_uint_eq(inb(LSR), 0x61);
	host.naccepts = 0;
	ck_assert_uint_eq(inb(DATA), 'q');
	ck_assert_uint_eq(host.naccepts, 1);
	ck_assert(!rig.line[GSI]);
	ck_assert_uint_eq(inb(LSR), 0x60);
	ck_assert_uint_eq(inb(DATA), 'q'); /* an empty receiver shows the last byte */
}

TEST(trigger_levels)
{
	static const struct {
		uint8_t fcr, level;
	} row[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};

	start(0x01, 0x01);
	for (unsigned int i = 0; i < 4; i++) {
		outb(FCR, row[i].fcr | 0x02);
		ck_assert_uint_eq(host.ops->room(host.opaque), 16);
		for (int n = 0; n < row[i].level; n++) {
			ck_assert(!rig.line[GSI]);
			type("x");
		}
		ck_assert(rig.line[GSI]);
		ck_assert_uint_eq(inb(IIR), 0xc4);
		inb(DATA);
		ck_assert(!rig.line[GSI]);
	}
}

TEST(character_timeout)
{
	start(0x81, 0x01);
	type("abc");
	ck_assert(!rig.line[GSI]);
	rig_advance(300000);
	type("d"); /* starts the time anew */
	rig_advance(300000);
	ck_assert(!rig.line[GSI]);
	rig_advance(100000);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(inb(IIR), 0xcc);
	ck_assert_uint_eq(inb(DATA), 'a'); /* a read is the acknowledge and starts it anew */
	ck_assert(!rig.line[GSI]);
	rig_advance(400000);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(rig.rises[GSI], 2);
	for (const char *p = "bcd"; *p; p++)
		ck_assert_int_eq(inb(DATA), *p);
	rig_advance(1000000);
	ck_assert(!rig.line[GSI]);
	/* Nobody is asked while nobody wants to know; later the waiting bytes count. */
	outb(IER, 0);
	type("e");
	rig_advance(1000000);
	outb(IER, 1);
	rig_advance(400000);
	ck_assert(rig.line[GSI]);
}

TEST(timeout_and_pause)
{
	struct error err;

	start(0x81, 0x01);
	type("abc");
	ck_assert_int_eq(serial_ops.pause(rig.dev, UINT64_MAX, &err), 0);
	ck_assert_int_eq(serial_ops.pause(rig.dev, UINT64_MAX, &err), 0);
	ck_assert(host.paused);
	rig_advance(1000000);
	ck_assert(!rig.line[GSI]); /* no state changes in a paused device */
	rig_reload();
	ck_assert(!host.paused);
	ck_assert(!rig.line[GSI]);
	rig_advance(400000);
	ck_assert_uint_eq(inb(IIR), 0xcc);
	rig_reload(); /* a pending one is pending after the load, and so is the line */
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(inb(IIR), 0xcc);
	ck_assert_uint_eq(inb(DATA), 'a');
}

TEST(overrun)
{
	start(0x01, 0x05);
	outb(MCR, 0x18); /* loopback: the one way past the flow control */
	for (int i = 0; i < 17; i++)
		outb(DATA, (uint8_t)('a' + i));
	ck_assert_uint_eq(host.nout, 0);
	ck_assert_uint_eq(inb(IIR), 0xc6); /* line status comes before data */
	rig_reload();
	ck_assert_uint_eq(inb(IIR), 0xc6);
	ck_assert_uint_eq(inb(LSR), 0x63);
	ck_assert_uint_eq(inb(LSR), 0x61); /* reading it is the acknowledge */
	ck_assert_uint_eq(inb(IIR), 0xc4);
	for (int i = 0; i < 16; i++)
		ck_assert_int_eq(inb(DATA), 'a' + i);
	ck_assert_uint_eq(inb(LSR), 0x60);
	outb(FCR, 0);
	outb(DATA, 'x');
	outb(DATA, 'y');
	ck_assert_uint_eq(inb(LSR), 0x63);
	ck_assert_uint_eq(inb(DATA), 'y'); /* the single buffer is overwritten */
}

TEST(loopback)
{
	start(0x01, 0x08);
	outb(MCR, 0x18 | 0x02); /* OUT2 -> DCD, RTS -> CTS: what Linux looks for */
	ck_assert_uint_eq(inb(MSR) & 0xf0, 0x90);
	outb(MCR, 0x18 | 0x02 | 0x01 | 0x04);
	ck_assert_uint_eq(inb(MSR), 0xf0 | 0x02); /* DSR changed; RI only counts when it falls */
	outb(MCR, 0x18);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(inb(IIR), 0xc0);
	ck_assert_uint_eq(inb(MSR), 0x80 | 0x07);
	ck_assert(!rig.line[GSI]);
	ck_assert_uint_eq(inb(MSR), 0x80);
	ck_assert_uint_eq(host.ops->room(host.opaque), 0); /* the receiver is not connected */
	host.naccepts = 0;
	outb(MCR, 0x08);
	ck_assert_uint_ge(host.naccepts, 1);
	ck_assert_uint_eq(host.ops->room(host.opaque), 16);
}

TEST(priorities_and_out2)
{
	start(0x01, 0x00);
	outb(MCR, 0x18);
	for (int i = 0; i < 17; i++)
		outb(DATA, 'x');
	outb(MCR, 0x1a); /* delta CTS */
	outb(IER, 0x0f);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(inb(IIR), 0xc6);
	inb(LSR);
	ck_assert_uint_eq(inb(IIR), 0xc4);
	outb(FCR, 0x03);
	ck_assert_uint_eq(inb(IIR), 0xc2);
	ck_assert_uint_eq(inb(IIR), 0xc0);
	ck_assert(rig.line[GSI]);
	outb(MCR, 0x12); /* OUT2 off: the cause stays, the line does not */
	ck_assert(!rig.line[GSI]);
	ck_assert_uint_eq(inb(IIR), 0xc0);
	inb(MSR);
	ck_assert_uint_eq(inb(IIR), 0xc1);
}

TEST(reset)
{
	start(0xc1, 0x0f);
	ck_assert(rig.line[GSI]);
	type("abc");
	serial_ops.pause(rig.dev, UINT64_MAX, NULL);
	serial_ops.reset(rig.dev);
	ck_assert(!rig.line[GSI]);
	serial_ops.resume(rig.dev);
	ck_assert_uint_eq(inb(LSR), 0x60);
	ck_assert_uint_eq(inb(IER), 0);
	ck_assert_uint_eq(inb(IIR), 0x01);
}

UNIT_MAIN(rig_open, rig_close)
