# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# help.sh - sourced by a tool before all else: asked for help it prints the head of its file and ends, asked for the
# version that of Stasis.
case ${1-} in
-h | --help)
	sed -n '3,/^[^#]/{/^# shellcheck/d;s/^# \{0,1\}//p}' "$0"
	exit 0
	;;
-V | --version)
	echo "${0##*/} (stasis) $(sed -n 's/^#define STASIS_VERSION "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../vmm/version.h")"
	exit 0
	;;
esac
