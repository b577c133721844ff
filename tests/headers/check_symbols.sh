#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_symbols.sh LIBRARY LIST: what the library exports is exactly the list. A name may be added to
# the list; removing or renaming one breaks applications and needs a new soversion.
set -eu
found=$(nm -D --defined-only "$1" | awk '$2 ~ /^[A-Z]$/ { print $3 }' | sed 's/@.*//' | grep -v '^_init$\|^_fini$\|__asan\|__odr_asan\|__ubsan\|__tsan' | LC_ALL=C sort)
wanted=$(grep -v '^#' "$2" | LC_ALL=C sort)
if [ "$found" != "$wanted" ]; then
    printf 'exported but not listed, or listed but not exported:\n' >&2
    printf '%s\n' "$found" >"${TMPDIR:-/tmp}/weft-symbols.$$"
    printf '%s\n' "$wanted" | diff - "${TMPDIR:-/tmp}/weft-symbols.$$" >&2 || true
    rm -f "${TMPDIR:-/tmp}/weft-symbols.$$"
    exit 1
fi
