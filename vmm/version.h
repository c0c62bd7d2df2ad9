/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/version.h - the one place that knows the version; the text and the numbers change together. */
#ifndef VMM_VERSION_H
#define VMM_VERSION_H
#define STASIS_MAJOR   1
#define STASIS_MINOR   0
#define STASIS_MICRO   0
#define STASIS_VERSION "1.0.0"
#endif
