/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/state.h"
#include "vmm/base/log.h"
#include <endian.h>
#include <errno.h>
#include <libfdt.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "get() and put() are for such a host");

/* Host integer <-> the big-endian cells that the devicetree specification wants. */
static uint64_t get(const uint8_t *p, uint32_t width, bool is_be)
{
	uint64_t value = 0;

	memcpy(&value, p, width);
	return is_be ? be64toh(value) >> (64 - 8 * width) : value;
}

static void put(uint8_t *p, uint32_t width, uint64_t value, bool to_be)
{
	value = to_be ? htobe64(value << (64 - 8 * width)) : value;
	memcpy(p, &value, width);
}

/* Swapping is its own inverse: one copy serves both ways. */
static void copy(uint8_t *to, const uint8_t *from, uint32_t width, uint32_t n, bool to_be)
{
	if (width == 1)
		memcpy(to, from, n);
	else
		for (uint32_t i = 0; i < n; i++, to += width, from += width)
			put(to, width, get(from, width, !to_be), to_be);
}

uint64_t state_cell(const void *prop, uint32_t width, uint32_t i)
{
	return get((const uint8_t *)prop + (size_t)i * width, width, true);
}

static bool all_default(const struct state_row *row, const uint8_t *member)
{
	for (uint32_t i = 0; i < row->count; i++)
		if (get(member + (size_t)i * row->width, row->width, false) != row->dflt)
			return false;
	return true;
}

static int save_row(void *fdt, const struct state_row *row, const uint8_t *state, const char *type,
		    struct error *err)
{
	const uint8_t *member = state + row->offset;
	uint32_t n = row->count;
	void *prop;
	int ret;

	if (row->kind == ST_ADDED && all_default(row, member))
		return 0; /* an older build can still load it */
	if (row->kind == ST_VARIABLE)
		memcpy(&n, state + row->len_offset, sizeof(n));
	else if (row->kind == ST_STRING)
		n = (uint32_t)strnlen((const char *)member, row->count) + 1;
	if (n > row->count)
		return error_set(err, -EINVAL, "%s: '%s' has %u elements, at most %u fit", type,
				 row->name, n, row->count);
	ret = fdt_property_placeholder(fdt, row->name, (int)(n * row->width), &prop);
	if (ret)
		return error_set(err, -ENOSPC, "%s: '%s' does not fit in the tree: %s", type,
				 row->name, fdt_strerror(ret));
	copy(prop, member, row->width, n, true);
	return 0;
}

static int check_rules(const struct state_row *row, const uint8_t *member, const char *type,
		       struct error *err)
{
	uint64_t max = row->rules & ST_PADDING ? 0 : 1;

	if (!(row->rules & (ST_BOOL | ST_PADDING)))
		return 0;
	for (uint32_t i = 0; i < row->count; i++, member += row->width)
		if (get(member, row->width, false) > max)
			return error_set(err, -EINVAL, "%s: '%s' is %s", type, row->name,
					 max ? "neither 0 nor 1" : "padding and not zero");
	return 0;
}

int state_check(const struct state_desc *desc, const void *state, struct error *err)
{
	const char *why;

	for (const struct state_row *row = desc->row; row < desc->row + desc->nrows; row++) {
		int ret = check_rules(row, (const uint8_t *)state + row->offset, desc->type, err);

		if (ret)
			return ret;
	}
	why = desc->check ? desc->check(state) : NULL;
	return why ? error_set(err, -EINVAL, "%s: %s", desc->type, why) : 0;
}

int state_save(void *fdt, const struct state_desc *desc, const void *state, struct error *err)
{
	int ret = fdt_property(fdt, "type", desc->type, (int)strlen(desc->type) + 1);

	if (ret)
		return error_set(err, -ENOSPC, "%s: %s", desc->type, fdt_strerror(ret));
	for (const struct state_row *row = desc->row; row < desc->row + desc->nrows; row++) {
		ret = save_row(fdt, row, state, desc->type, err);
		if (ret)
			return ret;
	}
	/* After the rows: these have found counts and strings to be within their bounds. */
	return state_check(desc, state, err);
}

/* A string ends where the property ends and nowhere before. */
static bool is_string(const char *prop, uint32_t len)
{
	return len && strnlen(prop, len) == len - 1;
}

static int load_row(const struct state_row *row, const void *prop, uint32_t len_bytes,
		    uint8_t *state, const char *type, struct error *err)
{
	uint32_t n = len_bytes / row->width;
	bool any_length = row->kind == ST_VARIABLE || row->kind == ST_STRING;

	if (len_bytes % row->width || n > row->count || (!any_length && n != row->count))
		return error_set(err, -EINVAL, "%s: '%s' has %u bytes, not %s%u of %u each", type,
				 row->name, len_bytes, any_length ? "up to " : "", row->count,
				 row->width);
	if (row->kind == ST_STRING && !is_string(prop, len_bytes))
		return error_set(err, -EINVAL, "%s: '%s' is not a string", type, row->name);
	copy(state + row->offset, prop, row->width, n, false);
	if (row->kind == ST_VARIABLE)
		memcpy(state + row->len_offset, &n, sizeof(n));
	return 0;
}

static void load_default(const struct state_row *row, uint8_t *state)
{
	for (uint32_t i = 0; i < row->count; i++)
		put(state + row->offset + (size_t)i * row->width, row->width, row->dflt, false);
}

const char *state_shown(const char *name, char text[STATE_SHOWN_BYTES])
{
	size_t n = strnlen(name, STATE_SHOWN_BYTES - 1);

	for (size_t i = 0; i < n; i++)
		text[i] = text_ascii(name[i]);
	text[n] = '\0';
	return text;
}

const struct state_row *state_row_find(const struct state_desc *desc, const char *name)
{
	for (uint32_t i = 0; i < desc->nrows; i++)
		if (!strcmp(desc->row[i].name, name))
			return &desc->row[i];
	return NULL;
}

static int load_type(const char *prop, uint32_t len, const struct state_desc *desc,
		     struct error *err)
{
	char shown[STATE_SHOWN_BYTES];

	if (!is_string(prop, len))
		return error_set(err, -EINVAL, "%s: 'type' is not a string", desc->type);
	if (strcmp(prop, desc->type))
		return error_set(err, -EINVAL, "%s: 'type' is '%s'", desc->type,
				 state_shown(prop, shown));
	return 0;
}

/* Every property of the node goes to its row; seen[nrows] is that of the type. */
static int load_properties(const void *fdt, int node, const struct state_desc *desc, uint8_t *state,
			   bool *seen, struct error *err)
{
	const struct state_row *row = desc->row;
	char shown[STATE_SHOWN_BYTES];
	int prop;

	fdt_for_each_property_offset (prop, fdt, node) {
		const char *name = NULL;
		int len = 0, ret;
		const void *value = fdt_getprop_by_offset(fdt, prop, &name, &len);
		bool is_type;
		uint32_t i;

		if (!value || !name || len < 0)
			return error_set(err, -EINVAL, "%s: a property cannot be read", desc->type);
		is_type = !strcmp(name, "type");
		/* Rows are written in order: the one after the last is nearly always it. */
		if (!is_type && (row == desc->row + desc->nrows || strcmp(row->name, name)))
			row = state_row_find(desc, name);
		if (!row)
			return error_set(err, -ENOTSUP,
					 "%s: '%s' is not known here: written by a newer version",
					 desc->type, state_shown(name, shown));
		i = is_type ? desc->nrows : (uint32_t)(row - desc->row);
		if (seen[i])
			return error_set(err, -EINVAL, "%s: '%s' comes twice", desc->type, name);
		seen[i] = true;
		if (is_type)
			ret = load_type(value, (uint32_t)len, desc, err);
		else
			ret = load_row(row++, value, (uint32_t)len, state, desc->type, err);
		if (ret)
			return ret;
	}
	return 0;
}

int state_load(const void *fdt, int node, const struct state_desc *desc, void *state,
	       struct error *err)
{
	bool seen[STATE_MAX_ROWS + 1] = {false};
	int ret;

	memset(state, 0, desc->size);
	ret = load_properties(fdt, node, desc, state, seen, err);
	if (ret)
		return ret;
	if (!seen[desc->nrows])
		return error_set(err, -EINVAL, "%s: 'type' is missing", desc->type);
	for (uint32_t i = 0; i < desc->nrows; i++) {
		if (seen[i])
			continue;
		if (desc->row[i].kind != ST_ADDED)
			return error_set(err, -EINVAL, "%s: '%s' is missing", desc->type,
					 desc->row[i].name);
		load_default(&desc->row[i], state);
	}
	return state_check(desc, state, err);
}

static int join_difference(const struct state_row *row, const char *was, const char *is,
			   struct error *err)
{
	char name[STATE_SHOWN_BYTES], shown[STATE_SHOWN_BYTES];

	state_shown(row->name, name);
	for (char *c = name; *c; c++)
		if (*c == '_')
			*c = '-'; /* as options are written */
	return error_join(err, -EINVAL, "checkpoint has %s=%s, this VM has %s", name,
			  state_shown(was, shown), is);
}

static const char *value_text(const struct state_row *row, uint64_t value, char text[24])
{
	if (row->rules & ST_BOOL)
		return value ? "on" : "off";
	snprintf(text, 24, "%llu", (unsigned long long)value);
	return text;
}

static int compare_row(const struct state_row *row, const uint8_t *saved, const uint8_t *here,
		       struct error *err)
{
	if (row->kind == ST_STRING)
		return strcmp((const char *)saved, (const char *)here)
			       ? join_difference(row, (const char *)saved, (const char *)here, err)
			       : 0;
	for (uint32_t i = 0; i < row->count; i++, saved += row->width, here += row->width) {
		uint64_t was = get(saved, row->width, false), is = get(here, row->width, false);
		char was_text[24], is_text[24];

		if (was != is)
			return join_difference(row, value_text(row, was, was_text),
					       value_text(row, is, is_text), err);
	}
	return 0;
}

int state_compare(const struct state_desc *desc, const void *saved, const void *here,
		  struct error *err)
{
	int ret = 0;

	for (const struct state_row *row = desc->row; row < desc->row + desc->nrows; row++)
		if (row->rules & ST_CONSTANT &&
		    compare_row(row, (const uint8_t *)saved + row->offset,
				(const uint8_t *)here + row->offset, err))
			ret = -EINVAL;
	return ret;
}

size_t state_max_bytes(const struct state_desc *desc)
{
	/* Token, length, name offset, padding; and the name, once for each. */
	const size_t per_property = 3 * sizeof(uint32_t) + sizeof(uint32_t);
	size_t bytes = 2 * per_property + 2 * strlen(desc->type) + sizeof("type");

	for (uint32_t i = 0; i < desc->nrows; i++)
		bytes += per_property + strlen(desc->row[i].name) + 1 +
			 (size_t)desc->row[i].count * desc->row[i].width;
	return bytes;
}

void state_dump_table(FILE *out, const struct state_desc *desc)
{
	static const char *const kind_name[] = {
		[ST_REQUIRED] = "required",
		[ST_ADDED] = "added",
		[ST_VARIABLE] = "variable",
		[ST_STRING] = "string",
	};

	for (uint32_t i = 0; i < desc->nrows; i++) {
		const struct state_row *row = &desc->row[i];

		fprintf(out, "%s.%s u%u x%u %s", desc->type, row->name, row->width * 8u, row->count,
			kind_name[row->kind]);
		if (row->kind == ST_ADDED)
			fprintf(out, " default %#llx", (unsigned long long)row->dflt);
		if (row->rules & ST_BOOL)
			fputs(" bool", out);
		if (row->rules & ST_PADDING)
			fputs(" padding", out);
		if (row->rules & ST_CONSTANT)
			fputs(" constant", out);
		fputc('\n', out);
	}
}
