# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# help.sh - sourced by a tool before all else. If the first argument asks for help or the version, it prints the
# head of the tool's file or the version of Stasis, and ends the tool. A tool that takes options anywhere calls
# help_or_version for each.

# stasis_version: that of the source tree this file is in; where it is installed, of stasisctl
stasis_version() {
	local header
	header=$(dirname "${BASH_SOURCE[0]}")/../vmm/version.h
	if [[ -e $header ]]; then
		sed -n 's/^#define STASIS_VERSION "\(.*\)"/\1/p' "$header"
	else
		"${STASISCTL:-stasisctl}" --version | sed 's/^stasisctl //'
	fi
}

# help_or_version OPTION
help_or_version() {
	local version
	case ${1-} in
	-h | --help)
		sed -n '3,/^[^#]/{/^# shellcheck/d;s/^# \{0,1\}//p}' "$0"
		exit 0
		;;
	-V | --version)
		version=$(stasis_version) && [[ -n $version ]] || exit 1
		echo "${0##*/} $version"
		exit 0
		;;
	esac
}
help_or_version "$@"
