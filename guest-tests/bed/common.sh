# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
# common.sh - what the scripts of the bed share (sourced, not run).
# BED_CACHE holds downloads, the unpacked tree and built images, BED_RUNS one folder per run.
# bed_root is the unpacked tree: all packages with their own libc, run by its own ld.so, so
# that nothing is installed and nothing mixes with the machine's own libraries.
set -euo pipefail

# shellcheck source=../progress.sh
. "$(dirname "${BASH_SOURCE[0]}")/../progress.sh"
bed_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BED_CACHE=${BED_CACHE:-$HOME/.cache/stasis-bed}
BED_RUNS=${BED_RUNS:-$BED_CACHE/runs}
bed_root=$BED_CACHE/root
bed_build=$BED_CACHE/build
bed_ld=$bed_root/lib64/ld-linux-x86-64.so.2
bed_libs=$bed_root/usr/lib/x86_64-linux-gnu:$bed_root/usr/lib
mkdir -p "$BED_RUNS" "$bed_build"

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# in_root PROGRAM ARGS...: run a program of the unpacked tree
in_root() {
	local program=$1
	shift
	"$bed_ld" --library-path "$bed_libs" "$bed_root/$program" "$@"
}

# kmod_as NAME ARGS...: kmod as modprobe, depmod ... (links to it, absolute in the package)
kmod_as() {
	local name=$1
	shift
	"$bed_ld" --argv0 "$name" --library-path "$bed_libs" "$bed_root/bin/kmod" "$@"
}

suite=bookworm machine_suite=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# mirror_of SUITE: where this machine's apt gets a suite from; works before any apt-get update
mirror_of() {
	apt-get indextargets --no-release-info --format '$(SITE) $(RELEASE) $(COMPONENT)' |
		awk -v suite="$1" '$2 == suite && $3 == "main" && !n++ { print $1 }'
}

# apt_sources SUITE...: lines for a sources.list, from the mirrors that this machine's apt is set up for; with the
# security updates of the first suite
apt_sources() {
	local mirror security
	mirror=$(mirror_of "$machine_suite")
	[[ -n $mirror ]] || die "this machine's apt has no source for $machine_suite main (see /etc/apt/sources.list)"
	security=$(mirror_of "$machine_suite-security")
	printf "deb [signed-by=$keyring] $mirror %s main\n" "$@"
	[[ -z $security ]] || echo "deb [signed-by=$keyring] $security $1-security main"
}

# lock_cache: one builder at a time; held until the script ends
lock_cache() {
	exec 8>"$BED_CACHE/lock"
	flock 8
}

# stale TARGET SOURCE...: is the target missing or older than a source?
stale() {
	local target=$1 source
	shift
	[[ -e $target ]] || return 0
	for source; do
		[[ ! $source -nt $target ]] || return 0
	done
	return 1
}

# kernel_version SERIES: newest unpacked kernel of a series; a full version names itself
kernel_version() {
	local version
	[[ $1 != *-* ]] || { echo "$1"; return; }
	version=$(cd "$bed_root/lib/modules" && printf '%s\n' "$1"[.+-]* | sort -V | tail -1)
	[[ -d $bed_root/lib/modules/$version ]] || die "no kernel of series $1 in $bed_root: run get --refresh"
	echo "$version"
}

# module_files VERSION MODULE...: the modules and what they depend on, in loading order;
# modules that this kernel lacks or has built in are left out
module_files() {
	local version=$1 module
	shift
	for module; do
		kmod_as modprobe -d "$bed_root" -S "$version" --show-depends "$module" 2>/dev/null || true
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# module_copy FILE TARGET: a module as the kernel loads it, uncompressed
module_copy() {
	case $1 in
	*.xz) in_root usr/bin/xz -dc "$1" >"$2" ;;
	*) cp "$1" "$2" ;;
	esac
}

# shared_libraries FILE...: the libraries that programs need, those of the unpacked tree first
shared_libraries() {
	local file
	for file; do
		# what is no program, or a static one, needs none
		if "$bed_ld" --verify "$file" >/dev/null 2>&1; then
			"$bed_ld" --library-path "$bed_libs" --list "$file"
		fi
	done | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u
}

# make_initramfs FOLDER FILE
make_initramfs() {
	(cd "$1" && find . | LC_ALL=C sort | in_root usr/bin/cpio -o -H newc --quiet -R 0:0) >"$2.new"
	mv "$2.new" "$2"
}
