# SPDX-License-Identifier: Apache-2.0
# Sourced by tests that are shell scripts over a coordinator and agents as processes: sets root (a folder of its
# own), port (a free one) and WEFT_OPERATOR_DIR; whatever is in pid is killed and root removed at the end, and
# the tails of root/*.log are shown when it ends badly. Expects weftd, weft and client to name the programs.
# shellcheck shell=bash disable=SC2154
root=$(mktemp -d "${TMPDIR:-/tmp}/weft-${0##*/}-XXXXXX")
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export WEFT_OPERATOR_DIR="$root/operator"
declare -A pid=() # name -> process, or -group

finish() {
    status=$?
    trap - EXIT
    for p in "${pid[@]}"; do kill -9 -- "$p" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [ $status = 0 ] || tail -n 15 "$root"/*.log >&2 || true
    rm -rf "$root"
    exit $status
}
trap finish EXIT

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# expect STATUS WORDS COMMAND...: the exit status, and words in what it says
expect() {
    local want=$1 words=$2 status=0
    shift 2
    "$@" >"$root/said" 2>&1 || status=$?
    [ "$status" = "$want" ] || fail "exit $status, not $want: $* said: $(cat "$root/said")"
    grep -q -- "$words" "$root/said" || fail "'$words' is missing in: $(cat "$root/said")"
}

init_federation() { # into root/weftd
    "$weft" init --federation test --dir "$root/weftd" --address "localhost:$port" --listen "127.0.0.1:$port" >/dev/null
}

start_coordinator() { # [FOLDER]
    rm -f "$root/ready"
    "$weftd" --config "${1:-$root/weftd}/weftd.yaml" --ready-file "$root/ready" >>"$root/weftd.log" 2>&1 &
    pid[weftd]=$!
    for _ in $(seq 200); do
        [ -s "$root/ready" ] && return 0
        sleep 0.05
    done
    fail 'weftd did not start'
}

# submit NAME ROUNDS [DATASET] [EVALUATION, behind "clients: 2"] [ROUND, behind the rest of it]: a plain job of a
# linear model and two clients
submit() {
    cat >"$root/$1.yaml" <<YAML
name: $1
dataset: ${3:-digits}
model: |
  input 28x28x1
  flatten
  dense units=10
  loss softmax_cross_entropy
train: {learning_rate: 0.05, epochs: 1}
round: {target: 2, minimum: 2, deadline: 60s, lease: 3s, selection_window: 1s, backoff: 1s${5:-}}
aggregation: {clip_norm: 100, max_examples: 100000, secure: false}
evaluation: {clients: 2${4:-}}
stop: {rounds: $2}
YAML
    "$weft" job submit "$root/$1.yaml" >/dev/null
}

rounds_done() { # JOB; 0 while the coordinator is away
    "$weft" --format json job show "$1" 2>/dev/null |
        python3 -c 'import json, sys; j = json.load(sys.stdin); print(j.get("job", j)["rounds_done"])' 2>/dev/null || echo 0
}

wait_rounds() { # JOB N
    for _ in $(seq 600); do
        [ "$(rounds_done "$1")" -ge "$2" ] && return 0
        sleep 0.1
    done
    fail "$1 does not get to round $2"
}
