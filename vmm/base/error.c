/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/error.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int(error_set)(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
	}
	return code;
}

const char *error_making(int errno_code)
{
	return errno_code == ENOENT ? "its folder does not exist: make it first"
				    : strerror(errno_code);
}

void error_prefix(struct error *err, const char *fmt, ...)
{
	char old[ERROR_MAX];
	va_list ap;
	int n;

	if (!err)
		return;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg) - 3)
		snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %.*s",
			 (int)sizeof(err->msg) - n - 3, old);
}

int error_join(struct error *err, int code, const char *fmt, ...)
{
	size_t used;
	va_list ap;

	if (!err)
		return code;
	used = strlen(err->msg);
	if (used)
		used += (size_t)snprintf(err->msg + used, sizeof(err->msg) - used, "; ");
	if (used < sizeof(err->msg)) {
		va_start(ap, fmt);
		used += (size_t)vsnprintf(err->msg + used, sizeof(err->msg) - used, fmt, ap);
		va_end(ap);
	}
	if (used >= sizeof(err->msg))
		memcpy(err->msg + sizeof(err->msg) - 4, "...", 4);
	return code;
}
