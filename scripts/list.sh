# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# list.sh - the lists of stasis's options, such as path=/dev/dax0.0,size=1G (sourced, not run).

# list_value KEY: its value in each list on standard input that has it; ",," is a comma within a value
list_value() {
	local list
	while IFS= read -r list; do
		list=,${list//,,/$'\n'},
		[[ $list == *,"$1="* ]] || continue
		list=${list#*,"$1="}
		list=${list%%,*}
		echo "${list//$'\n'/,}"
	done
}
