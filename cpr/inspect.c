/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/uuid.h"
#include "vmm/version.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Every table there is, by type: what makes numbers out of a node's bytes. */
struct tables {
	const struct state_desc *desc[64];
	uint32_t n;
	bool utf8; /* for a program, which takes text that not every terminal does */
};

static void add_table(void *ctx, const struct state_desc *desc)
{
	struct tables *tables = ctx;

	if (tables->n < ARRAY_SIZE(tables->desc))
		tables->desc[tables->n++] = desc;
}

static const struct state_desc *find_table(const struct tables *tables, const void *fdt, int node)
{
	int len;
	const char *type = fdt_getprop(fdt, node, "type", &len);

	for (uint32_t i = 0; type && i < tables->n; i++)
		if (len == (int)strlen(tables->desc[i]->type) + 1 &&
		    !memcmp(type, tables->desc[i]->type, (size_t)len))
			return tables->desc[i];
	return NULL;
}

/* Text out of a file that anyone may have written: nothing in it steers a terminal. */
static struct json_object *text_value(const char *from, size_t len, bool utf8)
{
	char *text = strndup(from, len);
	struct json_object *value;

	if (!text)
		return NULL;
	len = strlen(text);
	text_clean(text, len);
	for (size_t i = 0; i < len && !utf8; i++)
		text[i] = text_ascii(text[i]);
	value = json_object_new_string_len(text, (int)len);
	free(text);
	return value;
}

static struct json_object *hex_value(const uint8_t *from, size_t len)
{
	static const char digit[] = "0123456789abcdef";
	char *text = malloc(2 * len + 1);
	struct json_object *value;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digit[from[i] >> 4];
		text[2 * i + 1] = digit[from[i] & 15];
	}
	value = json_object_new_string_len(text, (int)(2 * len));
	free(text);
	return value;
}

/* A number, an array of numbers, a string; bytes in hexadecimal, as everything no row knows. */
static struct json_object *property_value(const struct state_row *row, const void *prop, int len,
					  bool utf8)
{
	struct json_object *array;

	if (row && row->kind == ST_STRING)
		return text_value(prop, (size_t)len, utf8);
	if (!row || len % row->width || (row->width == 1 && row->count > 1))
		return hex_value(prop, (size_t)len);
	if (row->count == 1 && len == row->width)
		return json_object_new_uint64(state_cell(prop, row->width, 0));
	array = json_object_new_array();
	for (int i = 0; i < len / row->width; i++)
		json_object_array_add(
			array, json_object_new_uint64(state_cell(prop, row->width, (uint32_t)i)));
	return array;
}

static struct json_object *describe_node(const struct tables *tables, const void *fdt, int node)
{
	const struct state_desc *desc = find_table(tables, fdt, node);
	struct json_object *object = json_object_new_object();
	char shown[STATE_SHOWN_BYTES];
	int prop;

	fdt_for_each_property_offset (prop, fdt, node) {
		const char *name = NULL;
		int len = 0;
		const void *value = fdt_getprop_by_offset(fdt, prop, &name, &len);
		const struct state_row *row;

		if (!value || !name || len < 0)
			continue;
		row = desc ? state_row_find(desc, name) : NULL;
		state_shown(name, shown);
		for (char *c = shown; *c; c++)
			*c = *c == '_' ? '-' : *c;
		json_object_object_add(object, shown,
				       strcmp(name, "type")
					       ? property_value(row, value, len, tables->utf8)
					       : text_value(value, (size_t)len, tables->utf8));
	}
	return object;
}

static struct json_object *describe_tree(const struct checkpoint *ckpt, bool utf8,
					 struct error *err)
{
	struct json_object *tree;
	struct tables tables = {.utf8 = utf8};
	char shown[STATE_SHOWN_BYTES];
	int node;

	if (snapshot_tables(add_table, &tables, err))
		return NULL;
	tree = json_object_new_object();
	json_object_object_add(tree, "bytes", json_object_new_uint64(ckpt->size_bytes));
	json_object_object_add(tree, "checkpoint", describe_node(&tables, ckpt->data, 0));
	fdt_for_each_subnode (node, ckpt->data, 0) {
		const char *name = fdt_get_name(ckpt->data, node, NULL);

		json_object_object_add(tree, state_shown(name ? name : "", shown),
				       describe_node(&tables, ckpt->data, node));
	}
	return tree;
}

static void print_age(uint64_t saved_at_ns)
{
	static const struct {
		uint64_t s;
		const char *name;
	} unit[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	time_t saved = (time_t)(saved_at_ns / 1000000000u), now = time(NULL);
	uint64_t age = now > saved ? (uint64_t)(now - saved) : 0;
	struct tm tm;
	char text[40];

	if (gmtime_r(&saved, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm))
		fputs(text, stdout);
	for (size_t i = 0; i < ARRAY_SIZE(unit); i++)
		if (age >= 2 * unit[i].s) {
			printf(" (%llu %s ago)", (unsigned long long)(age / unit[i].s),
			       unit[i].name);
			break;
		}
}

static void print_machine(const struct machine_state *machine)
{
	const char *name = machine->devices;

	printf("machine     %u vCPU%s, %llu MiB of RAM, %s PIT;", machine->cpus,
	       machine->cpus == 1 ? "" : "s", (unsigned long long)(machine->ram_size_bytes >> 20),
	       machine->pit ? "with a" : "no");
	for (uint32_t i = 0; i < machine->ndevice_gsi; i++) {
		int n = (int)strcspn(name, " ");
		char shown[STATE_SHOWN_BYTES];

		printf(" %.*s", n, state_shown(name, shown));
		if (machine->device_gsi[i])
			printf(" (GSI %u)", machine->device_gsi[i]);
		name += n + (name[n] == ' ');
	}
	putchar('\n');
}

/* What a person asks first. A newer build's checkpoint may have a head that cannot be read here. */
static void print_summary(const char *path, const struct checkpoint *ckpt,
			  const struct snapshot *head)
{
	char id[UUID_TEXT], shown[STATE_SHOWN_BYTES], host[STATE_SHOWN_BYTES];
	struct json_object *ram_path =
		text_value(head->memory.path, sizeof(head->memory.path) - 1, false);

	printf("checkpoint  %s: %zu bytes, format %u, id %s\n", path, ckpt->size_bytes,
	       head->root.format, uuid_format(head->root.id, id));
	printf("VM          %s (uuid %s), %s\n", state_shown(head->machine.vm_name, shown),
	       uuid_format(head->machine.uuid, id), state_shown(head->machine.arch, host));
	fputs("saved       ", stdout);
	print_age(head->vmm.saved_at_ns);
	printf(" for mode=%s; the guest was %s%s\n", head->root.mode, head->root.run_state,
	       head->root.suspended ? " in its sleep" : "");
	printf("by          stasis %s on Linux %s\n", state_shown(head->vmm.version, shown),
	       state_shown(head->vmm.host_kernel, host));
	print_machine(&head->machine);
	printf("RAM         %s %s, offset %llu; %s\n", state_shown(head->memory.backend, shown),
	       ram_path ? json_object_get_string(ram_path) : "",
	       (unsigned long long)head->memory.offset_bytes,
	       head->memory.nhash ? "its hash is compared at the load" : "not hashed");
	puts("loads       once, while that RAM's label names this id: see --inspect-memory");
	json_object_put(ram_path);
}

static void print_text(const char *text)
{
	size_t len = strlen(text);

	if (len <= 64)
		puts(text);
	else
		printf("%.32s... (%zu characters)\n", text, len);
}

static void print_value(struct json_object *value)
{
	size_t n, max = 6;

	switch (json_object_get_type(value)) {
	case json_type_int:
		printf("%llu (%#llx)\n", (unsigned long long)json_object_get_uint64(value),
		       (unsigned long long)json_object_get_uint64(value));
		break;
	case json_type_array:
		n = json_object_array_length(value);
		for (size_t i = 0; i < n && i < max; i++)
			printf("%#llx ", (unsigned long long)json_object_get_uint64(
						 json_object_array_get_idx(value, i)));
		printf(n > max ? "... (%zu in all)\n" : "\n", n);
		break;
	default:
		print_text(value ? json_object_get_string(value) : "");
		break;
	}
}

static void print_nodes(struct json_object *tree)
{
	json_object_object_foreach (tree, node, properties) {
		if (!json_object_is_type(properties, json_type_object))
			continue;
		printf("\n%s\n", node);
		json_object_object_foreach (properties, name, value) {
			printf("    %-20s ", name);
			print_value(value);
		}
	}
}

static void print_person(const char *path, const struct checkpoint *ckpt, struct json_object *tree)
{
	struct snapshot *head = calloc(1, sizeof(*head));
	char *shown = strdup(path);
	struct error err;

	if (!head || !shown)
		goto free_both;
	text_clean(shown, strlen(shown));
	snapshot_head_sections(head);
	if (checkpoint_load(ckpt, head->section, head->nsections, false, &err)) {
		text_clean(err.msg, strlen(err.msg));
		printf("checkpoint  %s: %zu bytes; stasis " STASIS_VERSION " cannot load it: %s\n",
		       shown, ckpt->size_bytes, err.msg);
	} else {
		print_summary(shown, ckpt, head);
	}
	print_nodes(tree);
free_both:
	free(shown);
	free(head);
}

int cpr_inspect(const char *path, bool json, struct error *err)
{
	struct checkpoint ckpt;
	struct json_object *tree;
	int ret = checkpoint_read(&ckpt, AT_FDCWD, path, true, err);

	if (ret)
		return ret;
	tree = describe_tree(&ckpt, json, err);
	if (!tree)
		ret = -ENOMEM;
	else if (json)
		puts(json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		print_person(path, &ckpt, tree);
	json_object_put(tree);
	checkpoint_free(&ckpt);
	return ret;
}

int cpr_inspect_memory(const struct ram_config *config, bool json, struct error *err)
{
	static const char *const state_name[] = {
		[LABEL_NONE] = "none",
		[LABEL_RUNNING] = "running",
		[LABEL_SAVED] = "saved",
	};
	struct label label;
	char uuid[UUID_TEXT], id[UUID_TEXT];
	int ret = label_peek(config, &label, err);

	if (ret)
		return ret;
	uuid_format(label.vm_id, uuid);
	uuid_format(label.checkpoint_id, id);
	if (label.state == LABEL_NONE)
		printf(json ? "{\"state\": \"none\"}\n"
			    : "no label found for RAM at offset=%llu: give offset= and size= of "
			      "the "
			      "VM; if they are right, none has run there, or its label is "
			      "damaged\n",
		       (unsigned long long)config->offset_bytes);
	else if (json)
		printf("{\"state\": \"%s\", \"uuid\": \"%s\", \"size\": %llu%s%s%s}\n",
		       state_name[label.state], uuid, (unsigned long long)label.ram_size_bytes,
		       label.state == LABEL_SAVED ? ", \"checkpoint\": \"" : "",
		       label.state == LABEL_SAVED ? id : "",
		       label.state == LABEL_SAVED ? "\"" : "");
	else if (label.state == LABEL_SAVED)
		printf("saved: VM %s, %llu MiB; waits for its checkpoint %s\n", uuid,
		       (unsigned long long)(label.ram_size_bytes >> 20), id);
	else
		printf("running: VM %s, %llu MiB; runs now, or ended without a save\n", uuid,
		       (unsigned long long)(label.ram_size_bytes >> 20));
	return 0;
}
