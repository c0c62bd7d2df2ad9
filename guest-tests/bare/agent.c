// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Counts, and is its own guest agent: answers guest-sync-delimited and guest-ping on the agent's port, and
 * sleeps (ACPI S3) at guest-suspend-ram. suspend=refused: it says no; suspend=never: it says and does nothing;
 * suspend=late: it sleeps when the mailbox says so.
 */
#include "virtio.h"

#define BUFFERS	     8
#define BUFFER_BYTES 128
#define TEXT_BYTES   256

const char guest_name[] = "agent";

static struct virtio_dev dev;
static struct acpi_facts acpi;
static char (*control)[BUFFER_BYTES], (*input)[BUFFER_BYTES], *output;

/* What follows the word; NULL: it is not in the text. */
static const char *behind(const char *text, const char *word)
{
	for (; *text; text++) {
		uint32_t n = 0;

		while (word[n] && text[n] == word[n])
			n++;
		if (!word[n])
			return text + n;
	}
	return NULL;
}

static void answer(const char *text)
{
	virtq_send(&dev.queue[AGENT_TX], output, print_to(output, "%s", text));
}

/* The number comes back as it was written. */
static void synchronize(const char *id)
{
	uint64_t n = 0;

	while (*id >= '0' && *id <= '9')
		n = n * 10 + (uint64_t)(*id++ - '0');
	virtq_send(&dev.queue[AGENT_TX], output, print_to(output, "\xff{\"return\": %lu}\n", n));
}

static void serve(void);

static void woken(void)
{
	irq_init();
	put("woken\n");
	serve();
}

static void sleep_now(void)
{
	put("sleeps\n");
	acpi_set_wake(&acpi, woken);
	acpi_sleep(&acpi);
}

static void suspend(void)
{
	if (option("suspend=never") || option("suspend=late"))
		return;
	if (option("suspend=refused")) {
		answer("{\"error\": {\"class\": \"GenericError\", \"desc\": \"not tired\"}}\n");
		return;
	}
	sleep_now();
}

static void obey(const char *command)
{
	const char *id = behind(command, "\"id\":");

	if (behind(command, "\"guest-sync-delimited\"") && id)
		synchronize(id);
	else if (behind(command, "\"guest-ping\""))
		answer("{\"return\": {}}\n");
	else if (behind(command, "\"guest-suspend-ram\""))
		suspend();
	else
		guest_fail("'%s' came from the host", command);
}

/* A command ends with its last brace; a byte that no JSON has begins anew. */
static void take_byte(char c)
{
	static char command[TEXT_BYTES];
	static uint32_t length, depth;

	if (c == '\xff') {
		length = depth = 0;
		return;
	}
	CHECK(length < TEXT_BYTES - 1, "a command that is too long");
	command[length++] = c;
	depth += c == '{';
	depth -= c == '}' && depth;
	if (c != '}' || depth)
		return;
	command[length] = '\0';
	length = 0;
	obey(command);
}

static void take_input(void)
{
	char data[BUFFER_BYTES], *from;
	uint32_t bytes;

	while ((from = virtq_get(&dev.queue[CONTROL_RX], &bytes)))
		virtq_give(&dev.queue[CONTROL_RX], from, BUFFER_BYTES);
	while ((from = virtq_get(&dev.queue[AGENT_RX], &bytes))) {
		memcpy(data, from, bytes);
		virtq_give(&dev.queue[AGENT_RX], from, BUFFER_BYTES);
		for (uint32_t i = 0; i < bytes; i++)
			take_byte(data[i]);
	}
}

static void serve(void)
{
	for (;;) {
		shared.counter++;
		take_input();
		if (mailbox_take())
			sleep_now();
		spin(MOMENT / 10);
	}
}

void guest_main(void)
{
	irq_init();
	CHECK(acpi_parse(&acpi), "no FADT");
	CHECK(virtio_find(&dev, 3, 0), "there is no virtio-console");
	virtio_init(&dev, CONSOLE_MULTIPORT, VIRTIO_POLL);
	control = virtio_alloc(sizeof(*control) * BUFFERS);
	input = virtio_alloc(sizeof(*input) * BUFFERS);
	output = virtio_alloc(TEXT_BYTES);
	for (uint16_t i = 0; i < BUFFERS; i++) {
		virtq_give(&dev.queue[CONTROL_RX], control[i], BUFFER_BYTES);
		virtq_give(&dev.queue[AGENT_RX], input[i], BUFFER_BYTES);
	}
	console_say(&dev, 0, DEVICE_READY);
	console_say(&dev, 1, PORT_READY);
	console_say(&dev, 1, PORT_OPEN);
	serve();
}
