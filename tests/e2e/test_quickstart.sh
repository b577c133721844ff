#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_quickstart.sh QUICKSTART_DIR WEFTD WEFT WEFT_CLIENT: run the sh blocks of the quickstart's text, in their order
# and as they stand, in an empty folder and on a free port; then look at what they must have left.
set -euo pipefail
export QUICKSTART=$1
weftd=$(realpath "$2") weft=$(realpath "$3") client=$(realpath "$4")
# shellcheck source=../support/federation.sh
. "$(dirname "$0")/../support/federation.sh"
export PATH="${weftd%/*}:${weft%/*}:${client%/*}:$PATH" port
says() { grep -q -- "$1" "$root/said.log" || fail "'$1' is missing in what the steps say"; }

cd "$root"
{
    echo 'set -euo pipefail'
    awk '/^```sh$/ {inside = 1; next} /^```/ {inside = 0} inside' "$QUICKSTART/README.md"
} >steps.sh
[ "$(grep -c . steps.sh)" -gt 20 ] || fail 'no steps were found in the text'
set -m # a group of its own: whatever the steps start ends with them
bash steps.sh >said.log 2>&1 &
pid[steps]=-$!
wait $! || fail "the steps ended with $?"

says 'hospitals' # status
says 'digits round 1 of 40  [678] of 8 updates  accuracy 0.*  loss '
says 'digits is done'
says 'revoked'
[ -s digits.safetensors ] || fail 'no model was exported'
[ "$(stat -c %a operator/operator.key)" = 600 ] || fail 'the key of the operator is open to others'
accuracy=$(sed -n 's/.*accuracy \([0-9]*\)\.[0-9]* % on 2000 examples.*/\1/p' said.log)
[ "${accuracy:-0}" -ge 90 ] || fail "the model gets ${accuracy:-nothing} % right"
