#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_quickstart.sh QUICKSTART_DIR BUILD_ROOT: run the sh blocks of the quickstart's text, in their order and as
# they stand, in an empty folder and on a free port; then look at what they must have left.
set -euo pipefail
export QUICKSTART=$1
export PATH="$2/server/app:$2/server/cli:$2/client/agent:$PATH"
root=$(mktemp -d "${TMPDIR:-/tmp}/weft-quickstart-test-XXXXXX")
finish() {
    status=$?
    trap - EXIT
    kill -9 -- "-$steps" 2>/dev/null || true
    [ $status = 0 ] || tail -n 30 "$root"/said "$root"/*.log >&2 || true
    rm -rf "$root"
    exit $status
}
fail() {
    printf 'test_quickstart: %s\n' "$*" >&2
    exit 1
}
says() { grep -q -- "$1" "$root/said" || fail "'$1' is missing in what the steps say"; }

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export port
{
    echo 'set -euo pipefail'
    awk '/^```sh$/ {inside = 1; next} /^```/ {inside = 0} inside' "$QUICKSTART/README.md"
} >"$root/steps.sh"
[ "$(grep -c . "$root/steps.sh")" -gt 20 ] || fail 'no steps were found in the text'
cd "$root"
set -m # a group of its own: whatever the steps start ends with them
bash steps.sh >said 2>&1 &
steps=$!
trap finish EXIT
wait "$steps" || fail "the steps ended with $?"

says 'hospitals'                   # status
says 'digits is done'              # watch
says 'digits round 1 of 40  [678] of 8 updates  accuracy 0.*  loss '
says 'revoked'
[ -s digits.safetensors ] || fail 'no model was exported'
[ "$(stat -c %a operator/operator.key)" = 600 ] || fail 'the key of the operator is open to others'
accuracy=$(sed -n 's/.*accuracy \([0-9]*\)\.[0-9]* % on 2000 examples.*/\1/p' said)
[ "${accuracy:-0}" -ge 90 ] || fail "the model gets ${accuracy:-nothing} % right"
