/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 16550A UART at COM1. Texas Instruments TL16C550C data sheet, "Register Selection" and on.
 * The line itself takes no time: what the host end takes is sent at once. Bytes it does not take
 * stay in the transmitter FIFO, the only buffer of unsent bytes, so that a checkpoint has them. */
#include "devices/devices.h"
#include "devices/host/chardev.h"
#include "devices/platform/platform.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <string.h>

#define SERIAL_PORT	  0x3f8
#define SERIAL_GSI	  4
#define SERIAL_FIFO	  16
#define SERIAL_TIMEOUT_NS 350000 /* four characters at 115200 baud */

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REGS };

#define IER_RDA	 0x01
#define IER_THRE 0x02
#define IER_RLS	 0x04
#define IER_MSI	 0x08
#define IER_ALL	 0x0f

#define IIR_NONE    0x01
#define IIR_MSI	    0x00
#define IIR_THRE    0x02
#define IIR_RDA	    0x04
#define IIR_RLS	    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_KEPT     0xc9 /* trigger level, DMA mode, enable; the others clear themselves */

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_ALL	 0x1f

#define LSR_DR	   0x01
#define LSR_OE	   0x02
#define LSR_ERRORS 0x1e
#define LSR_THRE   0x20
#define LSR_TEMT   0x40

#define MSR_CTS	   0x10
#define MSR_DSR	   0x20
#define MSR_RI	   0x40
#define MSR_DCD	   0x80
#define MSR_DELTAS 0x0f

struct serial_state {
	uint32_t nrx, ntx;
	uint8_t rx[SERIAL_FIFO]; /* oldest byte first */
	uint8_t tx[SERIAL_FIFO]; /* not yet taken by the host end */
	uint8_t rbr;		 /* the last byte read: what an empty receiver shows */
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t lsr_errors; /* overrun, parity, framing, break; cleared by a read of LSR */
	uint8_t msr_deltas; /* cleared by a read of MSR */
	uint8_t thre_pending;
	uint8_t timeout_pending; /* bytes below the trigger level have waited long enough */
};
#define SERIAL_STATE(F, A, V, T)    \
	V(T, rx, nrx)               \
	V(T, tx, ntx)               \
	F(T, rbr)                   \
	F(T, ier)                   \
	F(T, fcr)                   \
	F(T, lcr)                   \
	F(T, mcr)                   \
	F(T, scr)                   \
	F(T, dll)                   \
	F(T, dlm)                   \
	F(T, lsr_errors)            \
	F(T, msr_deltas)            \
	F(T, thre_pending, ST_BOOL) \
	F(T, timeout_pending, ST_BOOL)

struct serial {
	struct device dev;
	struct serial_state s;
	struct chardev chr;
	struct timer timer;
	bool timer_armed;
	uint64_t activity_ns; /* last byte received or read */
	struct irq_line irq;
};

static uint32_t fifo_size(const struct serial_state *s)
{
	return s->fcr & FCR_ENABLE ? SERIAL_FIFO : 1;
}

static const char *serial_check(const void *state)
{
	const struct serial_state *s = state;

	if (s->ier & ~IER_ALL || s->mcr & ~MCR_ALL || s->fcr & ~FCR_KEPT ||
	    s->lsr_errors & ~LSR_ERRORS || s->msr_deltas & ~MSR_DELTAS)
		return "a register has bits that do not exist";
	if (!(s->fcr & FCR_ENABLE) && s->fcr)
		return "a trigger level without the FIFO";
	if (s->nrx > fifo_size(s) || s->ntx > fifo_size(s))
		return "more bytes than the FIFO has room for";
	return NULL;
}
STATE_DEFINE(serial_state, SERIAL_STATE, "serial", serial_check);

static uint32_t rx_trigger(const struct serial_state *s)
{
	static const uint8_t level[] = {1, 4, 8, 14};

	return s->fcr & FCR_ENABLE ? level[s->fcr >> 6] : 1;
}

/* The interrupt of highest priority, as IIR shows it. */
static uint8_t interrupt_id(const struct serial_state *s)
{
	if (s->ier & IER_RLS && s->lsr_errors)
		return IIR_RLS;
	if (s->ier & IER_RDA && s->nrx >= rx_trigger(s))
		return IIR_RDA;
	if (s->ier & IER_RDA && s->timeout_pending)
		return IIR_TIMEOUT;
	if (s->ier & IER_THRE && s->thre_pending)
		return IIR_THRE;
	if (s->ier & IER_MSI && s->msr_deltas)
		return IIR_MSI;
	return IIR_NONE;
}

/* On a PC the modem control output OUT2 connects the interrupt line. */
static bool line_level(const struct serial_state *s)
{
	return s->mcr & MCR_OUT2 && interrupt_id(s) != IIR_NONE;
}

static void update_irq(struct serial *serial)
{
	irq_line_set(&serial->irq, line_level(&serial->s));
}

static void arm_timer(struct serial *serial, uint64_t delay_ns)
{
	serial->timer_armed = delay_ns;
	timer_set(&serial->timer, delay_ns);
}

/* Bytes below the trigger level interrupt only after a timeout. */
static bool wants_timeout(const struct serial_state *s)
{
	return s->fcr & FCR_ENABLE && s->ier & IER_RDA && s->nrx && s->nrx < rx_trigger(s) &&
	       !s->timeout_pending;
}

static void rx_activity(struct serial *serial)
{
	if (!wants_timeout(&serial->s))
		return;
	serial->activity_ns = clock_now_ns();
	/* An armed timer checks for itself whether it fired too early: no system call for each byte. */
	if (!serial->timer_armed)
		arm_timer(serial, SERIAL_TIMEOUT_NS);
}

static void timer_ready(void *opaque, uint32_t events)
{
	struct serial *serial = opaque;
	uint64_t idle_ns;

	if (!timer_take(&serial->timer))
		return;
	serial->timer_armed = false;
	if (!wants_timeout(&serial->s))
		return;
	idle_ns = clock_now_ns() - serial->activity_ns;
	if (idle_ns < SERIAL_TIMEOUT_NS) {
		arm_timer(serial, SERIAL_TIMEOUT_NS - idle_ns);
		return;
	}
	serial->s.timeout_pending = 1;
	update_irq(serial);
}

static void rx_push(struct serial_state *s, uint8_t byte)
{
	if (s->nrx < fifo_size(s)) {
		s->rx[s->nrx++] = byte;
		return;
	}
	/* Overrun: a FIFO keeps what it has, the single receiver buffer takes the new byte. */
	s->lsr_errors |= LSR_OE;
	if (!(s->fcr & FCR_ENABLE))
		s->rx[0] = byte;
}

static void rx_clear(struct serial_state *s)
{
	s->nrx = 0;
	s->timeout_pending = 0;
}

static uint32_t serial_room(void *opaque)
{
	const struct serial_state *s = &((const struct serial *)opaque)->s;

	/* In loopback mode the receiver is not connected. */
	return s->mcr & MCR_LOOP ? 0 : fifo_size(s) - s->nrx;
}

static void serial_receive(void *opaque, const uint8_t *data, uint32_t n)
{
	struct serial *serial = opaque;

	for (uint32_t i = 0; i < n; i++)
		rx_push(&serial->s, data[i]);
	rx_activity(serial);
	update_irq(serial);
}

static void tx_offer(struct serial *serial)
{
	struct serial_state *s = &serial->s;
	uint32_t n;

	if (!s->ntx)
		return;
	n = chardev_write(&serial->chr, s->tx, s->ntx);
	s->ntx -= n;
	memmove(s->tx, s->tx + n, s->ntx);
	if (!s->ntx)
		s->thre_pending = 1;
}

static void serial_writable(void *opaque)
{
	tx_offer(opaque);
	update_irq(opaque);
}

static const struct chardev_ops serial_chardev_ops = {
	.room = serial_room,
	.receive = serial_receive,
	.writable = serial_writable,
};

static uint8_t modem_lines(const struct serial_state *s)
{
	/* Always connected: a console does not wait for a carrier. */
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
			 (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static uint8_t read_rbr(struct serial *serial)
{
	struct serial_state *s = &serial->s;

	if (!s->nrx)
		return s->rbr;
	s->rbr = s->rx[0];
	s->nrx--;
	memmove(s->rx, s->rx + 1, s->nrx);
	s->timeout_pending = 0;
	/* Only when empty: sixteen bytes from the host at a time, not one. */
	if (!s->nrx)
		chardev_accept_input(&serial->chr);
	rx_activity(serial);
	return s->rbr;
}

static uint8_t read_iir(struct serial_state *s)
{
	uint8_t id = interrupt_id(s);

	if (id == IIR_THRE)
		s->thre_pending = 0;
	return (uint8_t)(id | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0));
}

static uint8_t read_lsr(struct serial_state *s)
{
	uint8_t lsr = (uint8_t)(s->lsr_errors | (s->nrx ? LSR_DR : 0) |
				(s->ntx ? 0 : LSR_THRE | LSR_TEMT));

	s->lsr_errors = 0;
	return lsr;
}

static uint8_t read_msr(struct serial_state *s)
{
	uint8_t msr = modem_lines(s) | s->msr_deltas;

	s->msr_deltas = 0;
	return msr;
}

static uint8_t read_register(void *opaque, uint64_t reg)
{
	struct serial *serial = opaque;
	struct serial_state *s = &serial->s;
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		return dlab ? s->dll : read_rbr(serial);
	case REG_IER:
		return dlab ? s->dlm : s->ier;
	case REG_IIR_FCR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_lsr(s);
	case REG_MSR:
		return read_msr(s);
	default:
		return s->scr;
	}
}

static void write_thr(struct serial *serial, uint8_t byte)
{
	struct serial_state *s = &serial->s;

	s->thre_pending = 0;
	if (s->mcr & MCR_LOOP) {
		rx_push(s, byte);
		s->thre_pending = !s->ntx;
		rx_activity(serial);
		return;
	}
	/* A full FIFO loses the byte; the single holding register is overwritten. */
	if (s->ntx < fifo_size(s))
		s->tx[s->ntx++] = byte;
	else if (!(s->fcr & FCR_ENABLE))
		s->tx[0] = byte;
	tx_offer(serial);
}

static void write_ier(struct serial *serial, uint8_t value)
{
	struct serial_state *s = &serial->s;

	/* Enabling the interrupt while the transmitter is empty raises it, each time. */
	if (value & ~s->ier & IER_THRE && !s->ntx)
		s->thre_pending = 1;
	s->ier = value & IER_ALL;
	rx_activity(serial);
}

static void write_fcr(struct serial *serial, uint8_t value)
{
	struct serial_state *s = &serial->s;
	bool toggled = (value ^ s->fcr) & FCR_ENABLE;

	/* Without the enable bit the others are not programmed. */
	if (!(value & FCR_ENABLE))
		value = 0;
	s->fcr = value & FCR_KEPT;
	if (toggled || value & FCR_CLEAR_TX) {
		if (s->ntx)
			s->thre_pending = 1;
		s->ntx = 0;
	}
	if (toggled || value & FCR_CLEAR_RX) {
		rx_clear(s);
		chardev_accept_input(&serial->chr);
	}
	rx_activity(serial);
}

static void write_mcr(struct serial *serial, uint8_t value)
{
	struct serial_state *s = &serial->s;
	uint8_t before = modem_lines(s), after, changed;

	s->mcr = value & MCR_ALL;
	after = modem_lines(s);
	changed = before ^ after;
	/* Of the ring indicator only the trailing edge counts. */
	changed &= (uint8_t) ~(after & MSR_RI);
	s->msr_deltas |= (uint8_t)(changed >> 4);
	chardev_accept_input(&serial->chr);
}

static void write_register(void *opaque, uint64_t reg, uint8_t value)
{
	struct serial *serial = opaque;
	struct serial_state *s = &serial->s;
	bool dlab = s->lcr & LCR_DLAB;

	if (reg == REG_DATA && dlab)
		s->dll = value;
	else if (reg == REG_DATA)
		write_thr(serial, value);
	else if (reg == REG_IER && dlab)
		s->dlm = value;
	else if (reg == REG_IER)
		write_ier(serial, value);
	else if (reg == REG_IIR_FCR)
		write_fcr(serial, value);
	else if (reg == REG_LCR)
		s->lcr = value;
	else if (reg == REG_MCR)
		write_mcr(serial, value);
	else if (reg == REG_SCR)
		s->scr = value;
}

static uint64_t serial_read(void *opaque, uint64_t offset, uint32_t size)
{
	uint64_t value = device_read_bytes(read_register, opaque, offset, size);

	update_irq(opaque);
	return value;
}

static void serial_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	device_write_bytes(write_register, opaque, offset, size, value);
	update_irq(opaque);
}

static const struct bus_ops serial_bus_ops = {.read = serial_read, .write = serial_write};

bool serial_query(const struct device *dev, uint32_t i, struct chardev_info *info)
{
	const struct serial *serial = container_of(dev, struct serial, dev);

	if (i)
		return false;
	chardev_query(&serial->chr, dev->name, info);
	info->frontend_open = true; /* a UART does not know */
	return true;
}

static int serial_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct serial *serial = container_of(dev, struct serial, dev);
	const struct bus_region region = {SERIAL_PORT, REGS,	   &serial_bus_ops,
					  serial,      &dev->lock, dev->name};
	int ret;

	ret = bus_add(&vm->bus, BUS_PIO, &region, err);
	if (ret)
		return ret;
	serial->irq = (struct irq_line){.irq = &vm->irq, .gsi = SERIAL_GSI};
	ret = timer_open(&serial->timer, CLOCK_MONOTONIC, &vm->loop, timer_ready, serial,
			 &dev->lock, err);
	if (ret)
		return ret;
	ret = chardev_open(&serial->chr, &vm->opt->serial, vm, &serial_chardev_ops, serial,
			   &dev->lock, err);
	if (ret)
		timer_close(&serial->timer);
	return ret;
}

static void serial_detach(struct device *dev)
{
	struct serial *serial = container_of(dev, struct serial, dev);

	chardev_close(&serial->chr);
	timer_close(&serial->timer);
}

static void serial_reset(struct device *dev)
{
	struct serial *serial = container_of(dev, struct serial, dev);

	memset(&serial->s, 0, sizeof(serial->s));
	arm_timer(serial, 0);
	irq_line_renew(&serial->irq, line_level(&serial->s));
	chardev_accept_input(&serial->chr);
}

static int serial_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct serial *serial = container_of(dev, struct serial, dev);

	chardev_pause(&serial->chr);
	arm_timer(serial, 0);
	return 0;
}

static void serial_resume(struct device *dev)
{
	struct serial *serial = container_of(dev, struct serial, dev);

	chardev_resume(&serial->chr);
	tx_offer(serial);
	rx_activity(serial);
	irq_line_renew(&serial->irq, line_level(&serial->s));
}

const struct device_ops serial_ops = {
	.type = "serial",
	.state = &serial_state_desc,
	DEVICE_STRUCT(struct serial),
	.guest_gsi = SERIAL_GSI,
	.attach = serial_attach,
	.detach = serial_detach,
	.reset = serial_reset,
	.pause = serial_pause,
	.resume = serial_resume,
};
