/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ports of a keyboard controller, without keyboard and mouse: only for its reset line.
 *
 * An absent i8042 reads all ones. So does this one, except for "input buffer full": a kernel that
 * resets by it waits for that bit to clear, Linux for a fifth of a second. Linux's probe gives up
 * when the output buffer still has data after 16 reads, within a millisecond. */
#include "devices/devices.h"
#include "vmm/vm.h"

#define I8042_DATA_PORT	   0x60
#define I8042_COMMAND_PORT 0x64
#define STATUS_INPUT_FULL  0x02

#define COMMAND_WRITE_OUTPUT 0xd1 /* its data byte sets the output port */
#define OUTPUT_NOT_RESET     0x01
/* 0xf0 to 0xff pulse the output lines whose bit is 0; line 0 is the processor's reset. */
#define COMMAND_PULSE_MASK 0xf0

struct i8042_state {
	uint8_t command; /* waits for its data byte; 0: none */
};
#define I8042_STATE(F, A, V, T) F(T, command)

struct i8042 {
	struct device dev;
	struct i8042_state s;
};

static const char *i8042_check(const void *state)
{
	const struct i8042_state *s = state;

	return s->command && s->command != COMMAND_WRITE_OUTPUT ? "no such command" : NULL;
}
STATE_DEFINE(i8042_state, I8042_STATE, "kbc", i8042_check);

static uint64_t data_read(void *opaque, uint64_t offset, uint32_t size)
{
	return UINT64_MAX;
}

static uint64_t status_read(void *opaque, uint64_t offset, uint32_t size)
{
	return UINT64_MAX & ~(uint64_t)STATUS_INPUT_FULL;
}

static void data_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct i8042 *kbc = opaque;

	if (kbc->s.command == COMMAND_WRITE_OUTPUT && !(value & OUTPUT_NOT_RESET))
		vm_request(kbc->dev.vm, VM_REQUEST_RESET);
	kbc->s.command = 0;
}

static void command_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct i8042 *kbc = opaque;
	uint8_t command = (uint8_t)value;

	kbc->s.command = command == COMMAND_WRITE_OUTPUT ? command : 0;
	if ((command & COMMAND_PULSE_MASK) == COMMAND_PULSE_MASK && !(command & OUTPUT_NOT_RESET))
		vm_request(kbc->dev.vm, VM_REQUEST_RESET);
}

static const struct bus_ops data_ops = {.read = data_read, .write = data_write};
static const struct bus_ops command_ops = {.read = status_read, .write = command_write};

static int i8042_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	const struct bus_region data = {I8042_DATA_PORT, 1, &data_ops, kbc, &dev->lock, dev->name};
	const struct bus_region command = {I8042_COMMAND_PORT, 1,	 &command_ops, kbc,
					   &dev->lock,	       dev->name};
	int ret = bus_add(&vm->bus, BUS_PIO, &data, err);

	return ret ? ret : bus_add(&vm->bus, BUS_PIO, &command, err);
}

static void i8042_reset(struct device *dev)
{
	container_of(dev, struct i8042, dev)->s.command = 0;
}

const struct device_ops i8042_ops = {
	.type = "kbc",
	.state = &i8042_state_desc,
	DEVICE_STRUCT(struct i8042),
	.attach = i8042_attach,
	.reset = i8042_reset,
};
