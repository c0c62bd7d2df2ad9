/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/json.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BAD(what) "JSON parse error, " what

/* What one byte does to the message; TOLD: it is wrong, and err has the message. */
enum verdict { GO_ON, COMPLETE, COMPLETE_BEFORE, TOLD };

static void message_end(struct json_in *in)
{
	in->state = JSON_AT_VALUE;
	in->depth = in->bytes = in->ntext = in->nnodes = 0;
	in->utf8_more = in->surrogate = 0;
	in->skip = false;
	in->name = NULL;
	in->name_len = 0;
}

void json_in_reset(struct json_in *in)
{
	message_end(in);
	in->pos = in->len = 0;
}

ssize_t json_in_read(struct json_in *in, int fd)
{
	ssize_t n = read(fd, in->buf, sizeof(in->buf));

	in->pos = in->len = 0;
	if (n < 0)
		return -errno;
	in->len = (uint32_t)n;
	return n;
}

/* Bytes that no JSON text has: they force the parser into a known state. */
static bool is_stray(unsigned char c)
{
	return (c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c >= 0xfe;
}

static bool is_blank(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool in_string(const struct json_in *in)
{
	return in->state == JSON_IN_STRING || in->state == JSON_IN_ESCAPE ||
	       in->state == JSON_IN_HEX;
}

static enum verdict bad(struct error *err, const char *what)
{
	error_set(err, 0, "%s", what);
	return TOLD;
}

static void keep(struct json_in *in, uint32_t c)
{
	in->text[in->ntext++] = (char)c;
}

/* --- values */

/* The value is complete, unless it is an array or object that was just opened. */
static enum verdict value_end(struct json_in *in)
{
	in->state = JSON_AFTER_VALUE;
	return in->depth ? GO_ON : COMPLETE;
}

static bool is_taken(const struct json_node *object, const struct json_node *node)
{
	for (const struct json_node *other = object->first; other; other = other->next)
		if (other->name_len == node->name_len &&
		    !memcmp(other->name, node->name, node->name_len))
			return true;
	return false;
}

/* Appends the next value to its parent. NULL: err has the message. */
static struct json_node *add_node(struct json_in *in, enum json_kind kind, struct error *err)
{
	struct json_node *parent = in->depth ? in->open[in->depth - 1] : NULL, *node;

	if (in->nnodes == JSON_IN_MAX_NODES) {
		bad(err, BAD("too many values"));
		return NULL;
	}
	node = &in->node[in->nnodes++];
	*node = (struct json_node){.kind = kind, .name = in->name, .name_len = in->name_len};
	in->name = NULL;
	in->name_len = 0;
	if (!parent)
		return node;
	if (node->name && is_taken(parent, node)) {
		bad(err, BAD("duplicate key"));
		return NULL;
	}
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	return node;
}

static enum verdict open_nest(struct json_in *in, enum json_kind kind, struct error *err)
{
	struct json_node *node;

	if (in->depth == JSON_IN_MAX_DEPTH)
		return bad(err, "JSON nesting depth limit exceeded");
	node = add_node(in, kind, err);
	if (!node)
		return TOLD;
	in->open[in->depth++] = node;
	in->state = kind == JSON_ARRAY ? JSON_AT_FIRST : JSON_AT_MEMBER;
	return GO_ON;
}

static enum verdict close_nest(struct json_in *in)
{
	in->depth--;
	return value_end(in);
}

static enum verdict begin_literal(struct json_in *in, enum json_kind kind, const char *literal,
				  struct error *err)
{
	struct json_node *node = add_node(in, kind, err);

	if (!node)
		return TOLD;
	node->boolean = *literal == 't';
	in->literal = literal + 1;
	in->state = JSON_IN_LITERAL;
	return GO_ON;
}

static enum verdict in_literal(struct json_in *in, unsigned char c, struct error *err)
{
	if (c != (unsigned char)*in->literal)
		return bad(err, BAD("invalid keyword"));
	return *++in->literal ? GO_ON : value_end(in);
}

static enum verdict begin_text(struct json_in *in, enum json_state state)
{
	in->string_at = in->ntext;
	in->state = state;
	return GO_ON;
}

static enum verdict begin_value(struct json_in *in, unsigned char c, struct error *err)
{
	switch (c) {
	case '{':
		return open_nest(in, JSON_OBJECT, err);
	case '[':
		return open_nest(in, JSON_ARRAY, err);
	case '"':
		in->is_name = false;
		return begin_text(in, JSON_IN_STRING);
	case 't':
		return begin_literal(in, JSON_BOOLEAN, "true", err);
	case 'f':
		return begin_literal(in, JSON_BOOLEAN, "false", err);
	case 'n':
		return begin_literal(in, JSON_NULL, "null", err);
	default:
		if (c != '-' && (c < '0' || c > '9'))
			return bad(err, BAD("expecting value"));
		begin_text(in, JSON_IN_NUMBER);
		keep(in, c);
		return GO_ON;
	}
}

/* The node of a string or number, with the text since begin_text(). */
static enum verdict end_text(struct json_in *in, enum json_kind kind, struct error *err)
{
	struct json_node *node = add_node(in, kind, err);

	if (!node)
		return TOLD;
	node->text = in->text + in->string_at;
	node->text_len = in->ntext - in->string_at;
	keep(in, '\0');
	return value_end(in);
}

/* --- numbers: RFC 8259, 6 */

static const char *skip_digits(const char *text)
{
	return text + strspn(text, "0123456789");
}

static bool is_number(const char *text)
{
	const char *digits = text + (*text == '-'), *end = skip_digits(digits);

	if (end == digits || (*digits == '0' && end > digits + 1))
		return false;
	if (*end == '.') {
		digits = end + 1;
		end = skip_digits(digits);
		if (end == digits)
			return false;
	}
	if (*end == 'e' || *end == 'E') {
		digits = end + 1 + (end[1] == '+' || end[1] == '-');
		end = skip_digits(digits);
		if (end == digits)
			return false;
	}
	return !*end;
}

static enum verdict in_number(struct json_in *in, unsigned char c, struct error *err)
{
	if (c && strchr("0123456789+-.eE", c)) {
		keep(in, c);
		return GO_ON;
	}
	in->text[in->ntext] = '\0';
	if (!is_number(in->text + in->string_at))
		return bad(err, BAD("invalid number"));
	/* The byte after a number belongs to the next token. */
	return end_text(in, JSON_NUMBER, err) == TOLD ? TOLD : COMPLETE_BEFORE;
}

/* --- strings: RFC 8259, 7; RFC 3629, 4 */

static enum verdict string_end(struct json_in *in, struct error *err)
{
	if (!in->is_name)
		return end_text(in, JSON_STRING, err);
	in->name = in->text + in->string_at;
	in->name_len = in->ntext - in->string_at;
	keep(in, '\0');
	in->state = JSON_AT_COLON;
	return GO_ON;
}

/* First byte of a character of several bytes; false: invalid. */
static bool utf8_begin(struct json_in *in, unsigned char c)
{
	/* What is left out would be overlong, a surrogate, or beyond Unicode. */
	static const struct {
		uint8_t first, last, more, low, high;
	} lead[] = {
		{0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf},
		{0xe1, 0xec, 2, 0x80, 0xbf}, {0xed, 0xed, 2, 0x80, 0x9f},
		{0xee, 0xef, 2, 0x80, 0xbf}, {0xf0, 0xf0, 3, 0x90, 0xbf},
		{0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
	};
	size_t i = 0;

	while (i < ARRAY_SIZE(lead) && (c < lead[i].first || c > lead[i].last))
		i++;
	if (i == ARRAY_SIZE(lead))
		return false;
	in->utf8_more = lead[i].more;
	in->utf8_low = lead[i].low;
	in->utf8_high = lead[i].high;
	return true;
}

/* Further byte of a character; false: invalid here. */
static bool utf8_byte(struct json_in *in, unsigned char c)
{
	if (!in->utf8_more)
		return c < 0x80 || utf8_begin(in, c);
	if (c < in->utf8_low || c > in->utf8_high)
		return false;
	in->utf8_more--;
	in->utf8_low = 0x80;
	in->utf8_high = 0xbf;
	return true;
}

static void keep_utf8(struct json_in *in, uint32_t code)
{
	if (code < 0x80) {
		keep(in, code);
		return;
	}
	if (code < 0x800) {
		keep(in, 0xc0 | code >> 6);
	} else {
		if (code < 0x10000) {
			keep(in, 0xe0 | code >> 12);
		} else {
			keep(in, 0xf0 | code >> 18);
			keep(in, 0x80 | (code >> 12 & 0x3f));
		}
		keep(in, 0x80 | (code >> 6 & 0x3f));
	}
	keep(in, 0x80 | (code & 0x3f));
}

static enum verdict in_literal_text(struct json_in *in, unsigned char c, struct error *err)
{
	if (!utf8_byte(in, c))
		return bad(err, BAD("invalid UTF-8 sequence in string"));
	if (in->surrogate && c != '\\')
		return bad(err, BAD("lone surrogate in string"));
	if (c == '"')
		return string_end(in, err);
	if (c == '\\')
		in->state = JSON_IN_ESCAPE;
	else
		keep(in, c);
	return GO_ON;
}

static enum verdict in_escape(struct json_in *in, unsigned char c, struct error *err)
{
	static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	const char *name = c ? strchr(names, c) : NULL;

	if (c == 'u') {
		in->hex_digits = in->hex = 0;
		in->state = JSON_IN_HEX;
		return GO_ON;
	}
	if (!name)
		return bad(err, BAD("invalid escape sequence in string"));
	if (in->surrogate)
		return bad(err, BAD("lone surrogate in string"));
	keep(in, (unsigned char)meant[name - names]);
	in->state = JSON_IN_STRING;
	return GO_ON;
}

/* A surrogate pair is one character: first the high one, then the low one. */
static enum verdict hex_end(struct json_in *in, struct error *err)
{
	const bool high = in->hex >= 0xd800 && in->hex < 0xdc00;
	const bool low = in->hex >= 0xdc00 && in->hex < 0xe000;

	in->state = JSON_IN_STRING;
	if (low != !!in->surrogate)
		return bad(err, BAD("lone surrogate in string"));
	if (high)
		in->surrogate = in->hex;
	else if (low)
		keep_utf8(in, 0x10000 + ((in->surrogate - 0xd800) << 10) + (in->hex - 0xdc00));
	else
		keep_utf8(in, in->hex);
	if (low)
		in->surrogate = 0;
	return GO_ON;
}

static enum verdict in_hex(struct json_in *in, unsigned char c, struct error *err)
{
	static const char digits[] = "0123456789abcdef";
	const char *digit = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

	if (!digit)
		return bad(err, BAD("invalid escape sequence in string"));
	in->hex = in->hex << 4 | (uint32_t)(digit - digits);
	return ++in->hex_digits < 4 ? GO_ON : hex_end(in, err);
}

/* --- between values */

static enum verdict at_name(struct json_in *in, unsigned char c, struct error *err)
{
	if (c == '}' && in->state == JSON_AT_MEMBER)
		return close_nest(in);
	if (c != '"')
		return bad(err, c == '}' ? BAD("expecting value")
					 : BAD("key is not a string in object"));
	in->is_name = true;
	return begin_text(in, JSON_IN_STRING);
}

static enum verdict behind(struct json_in *in, unsigned char c, struct error *err)
{
	const bool is_array = in->open[in->depth - 1]->kind == JSON_ARRAY;

	if (c == (is_array ? ']' : '}'))
		return close_nest(in);
	if (c != ',')
		return bad(err, is_array ? BAD("expected separator in list")
					 : BAD("expected separator in dict"));
	in->state = is_array ? JSON_AT_VALUE : JSON_AT_NAME;
	return GO_ON;
}

static enum verdict between(struct json_in *in, unsigned char c, struct error *err)
{
	if (is_blank(c))
		return GO_ON;
	switch (in->state) {
	case JSON_AT_FIRST:
		return c == ']' ? close_nest(in) : begin_value(in, c, err);
	case JSON_AT_MEMBER:
	case JSON_AT_NAME:
		return at_name(in, c, err);
	case JSON_AT_COLON:
		if (c != ':')
			return bad(err, BAD("missing : in object pair"));
		in->state = JSON_AT_VALUE;
		return GO_ON;
	case JSON_AFTER_VALUE:
		return behind(in, c, err);
	default:
		return begin_value(in, c, err);
	}
}

static enum verdict parse(struct json_in *in, unsigned char c, struct error *err)
{
	switch (in->state) {
	case JSON_IN_STRING:
		return in_literal_text(in, c, err);
	case JSON_IN_ESCAPE:
		return in_escape(in, c, err);
	case JSON_IN_HEX:
		return in_hex(in, c, err);
	case JSON_IN_NUMBER:
		return in_number(in, c, err);
	case JSON_IN_LITERAL:
		return in_literal(in, c, err);
	default:
		return between(in, c, err);
	}
}

/* After an error: does this byte end the broken message (COMPLETE), or begin the next one? */
static enum verdict skip(struct json_in *in, unsigned char c)
{
	if (c == '\n' || c == '\r')
		return COMPLETE;
	if (in_string(in)) {
		if (in->state == JSON_IN_ESCAPE)
			in->state = JSON_IN_STRING;
		else if (c == '\\')
			in->state = JSON_IN_ESCAPE;
		else if (c == '"')
			in->state = JSON_AFTER_VALUE;
		return GO_ON;
	}
	if (c == '{' || c == '[') {
		if (!in->depth)
			return COMPLETE_BEFORE;
		in->depth++;
	} else if ((c == '}' || c == ']') && in->depth) {
		return --in->depth ? GO_ON : COMPLETE;
	} else if (c == '"') {
		in->state = JSON_IN_STRING;
	}
	return GO_ON;
}

static enum json_in_result stray(struct json_in *in, unsigned char c, struct error *err)
{
	const bool told = in->skip;

	message_end(in);
	in->pos++;
	if (told)
		return JSON_IN_MORE;
	error_set(err, 0, "JSON parse error, stray '\\u%04X'", c);
	return JSON_IN_ERROR;
}

/* One byte; JSON_IN_MORE: continue with the next. */
static enum json_in_result step(struct json_in *in, unsigned char c, struct error *err)
{
	enum verdict verdict;

	if (is_stray(c) || ((c == '\n' || c == '\r') && in_string(in) && !in->skip))
		return stray(in, c, err);
	if (in->skip) {
		verdict = skip(in, c);
		in->pos += verdict != COMPLETE_BEFORE;
		if (verdict != GO_ON)
			message_end(in);
		return JSON_IN_MORE;
	}
	/* White space between messages belongs to none. */
	if (in->state != JSON_AT_VALUE || in->depth || !is_blank(c))
		in->bytes++;
	if (in->bytes > JSON_IN_MAX_BYTES)
		verdict = bad(err, "JSON token size limit exceeded");
	else
		verdict = parse(in, c, err);
	if (verdict == TOLD) {
		in->skip = true;
		return JSON_IN_ERROR; /* the byte is parsed again */
	}
	in->pos += verdict != COMPLETE_BEFORE;
	in->bytes -= verdict == COMPLETE_BEFORE;
	return verdict == GO_ON || in->depth ? JSON_IN_MORE : JSON_IN_VALUE;
}

enum json_in_result json_in_next(struct json_in *in, const struct json_node **value,
				 struct error *err)
{
	enum json_in_result result = JSON_IN_MORE;

	/* The value that was returned last is not needed any more. */
	if (in->state == JSON_AFTER_VALUE && !in->depth && !in->skip)
		message_end(in);
	while (result == JSON_IN_MORE && in->pos < in->len)
		result = step(in, (unsigned char)in->buf[in->pos], err);
	*value = in->node;
	return result;
}

/* --- what is in a value */

bool json_text_is(const char *text, uint32_t len, const char *is)
{
	return len == strlen(is) && !memcmp(text, is, len);
}

const struct json_node *json_member(const struct json_node *object, const char *name)
{
	if (!object || object->kind != JSON_OBJECT)
		return NULL;
	for (const struct json_node *node = object->first; node; node = node->next)
		if (json_text_is(node->name, node->name_len, name))
			return node;
	return NULL;
}

bool json_int64(const struct json_node *node, int64_t *value)
{
	char *end;

	if (node->kind != JSON_NUMBER)
		return false;
	errno = 0;
	*value = strtoll(node->text, &end, 10);
	return !*end && !errno;
}

/* --- the writer */

#define REPLACEMENT 0xfffd
#define GROWTH	    1024

int json_out_reserve(struct json_out *out, size_t bytes)
{
	const size_t need = out->len + bytes;
	size_t size = need > 2 * out->size ? need : 2 * out->size;
	char *data;

	if (out->failed)
		return -ENOMEM;
	if (need <= out->size)
		return 0;
	data = realloc(out->data, size < GROWTH ? GROWTH : size);
	if (!data) {
		out->failed = true;
		return -ENOMEM;
	}
	out->data = data;
	out->size = size < GROWTH ? GROWTH : size;
	return 0;
}

static void put(struct json_out *out, const char *text, size_t len)
{
	if (!len || json_out_reserve(out, len))
		return;
	memcpy(out->data + out->len, text, len);
	out->len += len;
}

static void put_text(struct json_out *out, const char *text)
{
	put(out, text, strlen(text));
}

static void put_code(struct json_out *out, uint32_t code)
{
	char text[16];

	if (code < 0x10000)
		snprintf(text, sizeof(text), "\\u%04x", code);
	else
		snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
			 0xdc00 + ((code - 0x10000) & 0x3ff));
	put_text(out, text);
}

/* What stands between the quotes of a string; what is not valid UTF-8 becomes U+FFFD. */
static void put_escaped(struct json_out *out, const char *text, size_t len)
{
	static const char meant[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
	size_t used;

	for (size_t i = 0; i < len; i += used) {
		const char *special = text[i] ? strchr(meant, text[i]) : NULL;
		uint32_t code = REPLACEMENT;

		used = 1;
		if (special) {
			put(out, (const char[]){'\\', names[special - meant]}, 2);
		} else if (text[i] & 0x80) {
			used = text_utf8(text + i, len - i, &code);
			used = used ? used : 1;
			put_code(out, code);
		} else if (text[i] < 0x20 || text[i] == 0x7f) {
			put_code(out, (uint32_t)text[i]);
		} else {
			put(out, text + i, 1);
		}
	}
}

static void put_quoted(struct json_out *out, const char *text, size_t len)
{
	put(out, "\"", 1);
	put_escaped(out, text, len);
	put(out, "\"", 1);
}

/* The value of a conversion; returns its last character. */
static const char *put_value(struct json_out *out, const char *conversion, va_list *values)
{
	const bool is_long = *conversion == 'l';
	const char *string;
	char number[24];

	conversion += is_long;
	switch (*conversion) {
	case 's':
		string = va_arg(*values, const char *);
		put_escaped(out, string, strlen(string));
		break;
	case 'i':
		put_text(out, va_arg(*values, int) ? "true" : "false");
		break;
	case 'u':
		snprintf(number, sizeof(number), "%lu",
			 is_long ? va_arg(*values, unsigned long) : va_arg(*values, unsigned int));
		put_text(out, number);
		break;
	default:
		snprintf(number, sizeof(number), "%ld",
			 is_long ? va_arg(*values, long) : va_arg(*values, int));
		put_text(out, number);
	}
	return conversion;
}

void json_out_add(struct json_out *out, const char *text, ...)
{
	va_list values;

	if (out->comma && !strchr("]}\r", *text))
		put(out, ",", 1);
	va_start(values, text);
	for (; *text; text++)
		if (*text == '%')
			text = put_value(out, text + 1, &values);
		else
			put(out, *text == '\'' ? "\"" : text, 1);
	va_end(values);
	out->comma = !strchr("[{:\n", text[-1]);
}

static void begin_node(struct json_out *out, const struct json_node *node)
{
	switch (node->kind) {
	case JSON_NULL:
		put_text(out, "null");
		break;
	case JSON_BOOLEAN:
		put_text(out, node->boolean ? "true" : "false");
		break;
	case JSON_NUMBER:
		put(out, node->text, node->text_len);
		break;
	case JSON_STRING:
		put_quoted(out, node->text, node->text_len);
		break;
	case JSON_ARRAY:
		put_text(out, "[");
		break;
	case JSON_OBJECT:
		put_text(out, "{");
		break;
	}
}

static void end_node(struct json_out *out, const struct json_node *node)
{
	if (node->kind == JSON_ARRAY || node->kind == JSON_OBJECT)
		put_text(out, node->kind == JSON_ARRAY ? "]" : "}");
}

void json_out_node(struct json_out *out, const struct json_node *node)
{
	const struct json_node *open[JSON_IN_MAX_DEPTH] = {NULL};
	uint32_t depth = 0;

	if (out->comma)
		put(out, ",", 1);
	out->comma = true;
	for (;;) {
		if (depth && node->name) {
			put_quoted(out, node->name, node->name_len);
			put(out, ":", 1);
		}
		begin_node(out, node);
		if (node->first) {
			open[depth++] = node;
			node = node->first;
			continue;
		}
		end_node(out, node);
		while (depth && !node->next) {
			node = open[--depth];
			end_node(out, node);
		}
		if (!depth)
			return;
		put(out, ",", 1);
		node = node->next;
	}
}

void json_out_rewind(struct json_out *out, size_t len)
{
	out->len = len;
	out->comma = false;
	out->failed = false;
}

void json_out_append(struct json_out *out, const struct json_out *from)
{
	if (from->failed)
		out->failed = true;
	put(out, from->data, from->len);
}

int json_out_send(struct json_out *out, int fd)
{
	size_t sent = 0;
	ssize_t n;

	while (sent < out->len) {
		n = send(fd, out->data + sent, out->len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	out->len -= sent;
	if (out->len)
		memmove(out->data, out->data + sent, out->len);
	else
		json_out_free(out);
	return 0;
}

void json_out_free(struct json_out *out)
{
	free(out->data);
	memset(out, 0, sizeof(*out));
}
