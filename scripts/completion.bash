# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# completion.bash - completes the command lines of stasis, stasisctl, kexec-update and kexec-resume in bash. The build puts
# the tables before it: _stasis_words PLACE prints what may come there, and returns 1 if there is no such place; see
# qmp/ctl/mk_completion.c.

# _stasis_expand CURRENT WORD...: adds words that begin with CURRENT to candidates=(); @file and @vm stand for others
_stasis_expand() {
	local current=$1 word file
	shift
	for word; do
		case $word in
		@file) mapfile -t -O "${#candidates[@]}" candidates < <(compgen -f -- "$current") ;;
		@vm)
			for file in "${STASIS_ROOT-}"/etc/stasis/*.conf; do
				file=${file##*/} file=${file%.conf}
				[[ $file == '*' || $file != "$current"* ]] || candidates+=("$file")
			done
			;;
		@*) ;;
		"$current"*) candidates+=("$word") ;;
		esac
	done
}

# _stasis_value PLACE CURRENT: a value that is a word, a path after "unix:", or a list of KEY=VALUE
_stasis_value() {
	local words head='' current=$2 i
	read -ra words < <(_stasis_words "$1")
	if [[ " ${words[*]}" == *=* ]]; then
		head=${current%"${current##*,}"} current=${current##*,}
		if [[ $current == *=* ]]; then
			head+=${current%%=*}=
			read -ra words < <(_stasis_words "$1 ${current%%=*}=")
			current=${current#*=}
		fi
	elif [[ $current == *:* && " ${words[*]} " == *" ${current%%:*}: "* ]]; then
		head=${current%%:*}: current=${current#*:} words=(@file)
	fi
	_stasis_expand "$current" "${words[@]}"
	for i in "${!candidates[@]}"; do candidates[i]=$head${candidates[i]}; done
}

# _stasis_options COMMAND CURRENT PREVIOUS: an option, or the value of the one before; 1: neither is meant
_stasis_options() {
	local words
	if [[ $3 == --* ]] && _stasis_words "$1 $3" >/dev/null; then
		_stasis_value "$1 $3" "$2"
	elif [[ $2 == --*=* ]]; then
		_stasis_value "$1 ${2%%=*}" "${2#*=}"
		candidates=("${candidates[@]/#/${2%%=*}=}")
	else
		read -ra words < <(_stasis_words "$1")
		[[ $2 == -* ]] || return 1
		_stasis_expand "$2" "${words[@]}"
	fi
}

# _stasis_names COMMAND CURRENT WORD...: stasisctl's VERB NAME ... or NAME COMMAND KEY=VALUE ...; WORDs are those before
_stasis_names() {
	local current=$1 place words
	shift
	case $# in
	0) place=stasisctl ;;
	*)
		if ! _stasis_words "stasisctl $1" >/dev/null; then
			place="qmp${2:+ $2}"
		elif [[ $# == 1 ]]; then
			place="stasisctl $1"
		else
			place="stasisctl $1 @vm"
		fi
		;;
	esac
	read -ra words < <(_stasis_words "$place")
	if [[ " ${words[*]} " == *' @stasis '* ]]; then
		_stasis_options stasis "$current" "${*: -1}" || _stasis_expand "$current" --
	elif [[ $place == 'qmp '* ]]; then
		_stasis_value "$place" "$current"
	else
		_stasis_expand "$current" "${words[@]}"
	fi
}

_stasis_complete() {
	local line=${COMP_LINE:0:COMP_POINT} words command current previous rest=() candidates=() i option
	read -ra words <<<"$line"
	[[ $line != *[[:blank:]] ]] || words+=('')
	command=${words[0]##*/} current=${words[-1]} previous=''
	((${#words[@]} < 3)) || previous=${words[-2]}
	for ((i = 1; i < ${#words[@]} - 1; i++)); do
		option=${words[i]}
		if [[ $option != -* || ${rest[0]-} == create ]]; then
			rest+=("$option")
		elif [[ $option == --* ]] && _stasis_words "$command $option" >/dev/null; then
			((++i))
		fi
	done
	if [[ $command == stasisctl && ${rest[0]-} == create && ${#rest[@]} -gt 1 ]]; then
		_stasis_names "$current" "${rest[@]}"
	elif ! _stasis_options "$command" "$current" "$previous"; then
		if [[ $command == stasisctl ]]; then
			_stasis_names "$current" "${rest[@]}"
		else
			read -ra words < <(_stasis_words "$command")
			[[ $command == stasis ]] || _stasis_expand "$current" "${words[@]}"
		fi
	fi
	# What bash takes for a word begins after the last = or :.
	[[ $current != *[=:]* ]] || candidates=("${candidates[@]#"${current%"${current##*[=:]}"}"}")
	COMPREPLY=("${candidates[@]}")
	[[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *[=:,/] ]] || compopt -o nospace 2>/dev/null
}

complete -o filenames -F _stasis_complete stasis stasisctl kexec-update kexec-resume
