#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_embed.sh MESON BUILD_DIR SOURCE_DIR PREFIX COMPILER...: install to a temporary root; build
# examples/embed with the compiler and pkg-config alone, shared and static; run it by itself and in a
# real federation of installed programs.
set -euo pipefail
meson=$1 build=$2 source=$3 prefix=$4
shift 4
compiler=("$@")
root=$(mktemp -d "${TMPDIR:-/tmp}/weft-embed-test-XXXXXX")
pids=()
finish() {
    status=$?
    trap - EXIT
    for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [ $status = 0 ] || tail -n 20 "$root"/*.log 2>/dev/null || true
    rm -rf "$root"
    exit $status
}
trap finish EXIT
fail() {
    printf 'test_embed: %s\n' "$*" >&2
    exit 1
}

# ---- install ----------------------------------------------------------------------------------------
"$meson" install -C "$build" --no-rebuild --destdir "$root" --quiet >"$root/install.log" 2>&1 || fail 'meson install failed'
at="$root$prefix"
pc=$(dirname "$(find "$at" -name weft.pc)")
export PKG_CONFIG_PATH="$pc"
config() { pkg-config --define-variable=prefix="$at" "$@"; }
libs=$(config --variable=libdir weft)
export LD_LIBRARY_PATH="$libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
headers=$(cd "$at/include" && find . -type f | sort | tr '\n' ' ')
[ "$headers" = './weft/nn.h ./weft/weft.h ' ] || fail "installed headers: $headers"

# ---- build ------------------------------------------------------------------------------------------
mkdir "$root/app"
cp "$source/examples/embed/embed.c" "$root/app" # nothing of the source tree is in reach
cd "$root/app"
flags=$(config --cflags --libs weft)
# shellcheck disable=SC2086
"${compiler[@]}" -std=c99 -D_DEFAULT_SOURCE -O1 -Wall -Wextra -Wpedantic -Werror embed.c $flags -o embed
./embed --self-check >self.log || fail 'embed --self-check failed'
grep -q 'has not enrolled' self.log || fail "self-check said: $(cat self.log)"
# into files: with pipefail, a grep that has seen enough ends ldd with SIGPIPE, and the pipe is "false"
ldd embed >needed
grep -q 'libweft\.so\.' needed || fail 'embed does not use the shared library'
if grep -qi 'blas' needed; then fail 'libweft pulls in BLAS'; fi
status=0
./embed STATE 2>/dev/null || status=$?
[ $status = 64 ] || fail "usage gives $status"

static=$(config --static --libs weft | sed 's/-lweft\b//')
# shellcheck disable=SC2046,SC2086
"${compiler[@]}" -std=c99 -D_DEFAULT_SOURCE -O1 embed.c $(config --cflags weft) "$libs/libweft.a" $static -o embed-static
./embed-static --self-check >/dev/null || fail 'the static embed failed'
ldd embed-static >needed
if grep -q libweft needed; then fail 'the static embed uses the shared library'; fi

# ---- join a federation of installed programs ----------------------------------------------------------
bin="$at/bin"
if ! [ -x "$bin/weftd" ] || ! [ -x "$bin/weft" ]; then
    fail 'weftd or weft is not installed'
fi
export WEFT_OPERATOR_DIR="$root/operator"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$bin/weft" init --federation embed --dir "$root/weftd" --address "localhost:$port" --listen "127.0.0.1:$port" >/dev/null
"$bin/weftd" --config "$root/weftd/weftd.yaml" --ready-file "$root/ready" >"$root/weftd.log" 2>&1 &
pids+=($!)
for _ in $(seq 200); do
    [ -s "$root/ready" ] && break
    sleep 0.05
done
[ -s "$root/ready" ] || fail 'weftd did not start'
"$bin/weft" job submit "$source/examples/embed/heating.yaml" >/dev/null
for house in 1 2 3; do
    "$bin/weft" client invite "house$house" --output "$root/house$house.join" >/dev/null
    ./embed "$root/house$house" "$root/house$house.join" "$house" >"$root/house$house.log" 2>&1 &
    eval "house$house=$!"
    pids+=($!)
done
"$bin/weft" --timeout 100s job watch heating >"$root/watch.log" 2>&1 || fail 'the job did not end well'
# shellcheck disable=SC2154
for p in "$house1" "$house2" "$house3"; do
    wait "$p" || fail "a house ended with $?"
done
for house in 1 2 3; do
    grep -q 'newest receipt: heating, round' "$root/house$house.log" || fail "house $house has no receipt"
done
"$bin/weft" --format json job show heating | python3 -c '
import json, sys
job = json.load(sys.stdin)
job = job.get("job", job)
metrics = job["metrics"]
loss = metrics["loss"] if isinstance(metrics, dict) else {m["name"]: m["value"] for m in metrics}["loss"]
assert job["status"] == "done" and job["rounds_done"] == 12, job
assert loss < 0.1, loss  # 29 before training, 0.0002 at the optimum
'
