#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_header.sh HEADER INCLUDE_DIR STANDARD COMPILER...: the header alone, included twice, each INIT
# macro used, compiles without a warning.
set -eu
header=$1 include=$2 standard=$3
shift 3
case $standard in
c++*) language=c++ ;;
*) language=c ;;
esac
{
    printf '#include <%s>\n#include <%s>\n' "$header" "$header"
    sed -n 's/^#define \(WEFT_[A-Z_]*\)_INIT.*/\1/p' "$include/$header" | while read -r name; do
        type=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')
        printf 'int use_%s(void);\nint use_%s(void) { %s v = %s_INIT; return (int)v.size; }\n' \
            "$type" "$type" "$type" "$name"
    done
} | "$@" -x "$language" -std="$standard" -fsyntax-only -Wall -Wextra -Wpedantic -Wundef -Wshadow -Wconversion -Werror \
    -I"$include" -
