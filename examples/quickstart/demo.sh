#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A whole federation on this machine: one coordinator, N clients with keys and data of their own, mutual
# TLS, secure aggregation, SQLite, a CNN. One client and the coordinator are killed with kill -9 on the way and carry on.
# Called by ./dev demo, which builds first; the steps, one by one, are in README.md.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${WEFT_BUILD_DIR:?run ./dev demo, or set WEFT_BUILD_DIR to a build directory}
weft="$build/server/cli/weft" weftd="$build/server/app/weftd" client="$build/client/agent/weft-client"
clients=8 data='' kills=1

while [ $# -gt 0 ]; do
    case $1 in
    --data) data=${2:?--data needs a folder} && shift ;;
    --clients) clients=${2:?--clients needs a number} && shift ;;
    --no-kills) kills=0 ;;
    *) printf 'demo: unknown option %s; see ./dev demo --help\n' "$1" >&2 && exit 64 ;;
    esac
    shift
done
if [ "$clients" -lt 3 ]; then
    printf 'demo: --clients is %s; a secure sum needs 3 or more\n' "$clients" >&2 && exit 64
fi
if [ -n "$data" ]; then
    data=$(cd "$data" && pwd) || exit 64
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/weft-demo-XXXXXX")
started=$(date +%s)
export WEFT_OPERATOR_DIR="$dir/operator"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
declare -A pid=()
done_well=0

finish() {
    trap - EXIT
    for p in "${pid[@]}"; do kill "$p" 2>/dev/null || true; done
    for p in "${pid[@]}"; do
        for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.05; done
    done
    if [ $done_well = 0 ]; then
        printf '\ndemo: failed; logs and state are in %s\n' "$dir" >&2
        tail -n 5 "$dir/weftd.log" >&2 || true
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

start_coordinator() {
    rm -f "$dir/ready"
    "$weftd" --config "$dir/weftd/weftd.yaml" --ready-file "$dir/ready" >>"$dir/weftd.log" 2>&1 &
    pid[weftd]=$!
    disown
    for _ in $(seq 200); do
        [ -s "$dir/ready" ] && return 0
        kill -0 "${pid[weftd]}" 2>/dev/null || break
        sleep 0.05
    done
    printf 'demo: weftd did not start\n' >&2
    exit 1
}

# The private data of client I: drawn digits of its own, or its small part of a real data set.
data_of() {
    if [ -n "$data" ]; then
        printf '%s#%d/%d' "$data" "$1" $((clients * 10))
    else
        printf 'digits:%d:500' "$1"
    fi
}

start_client() {
    "$client" run --state "$dir/client$1" --data "digits=$(data_of "$1")" >>"$dir/client$1.log" 2>&1 &
    pid[client$1]=$!
    disown
}

job_field() { # NAME: a field of the job, or nothing while the coordinator is away
    "$weft" --timeout 5s --format json job show digits 2>/dev/null |
        python3 -c "import json,sys; j = json.load(sys.stdin); print(j.get('job', j).get('$1', ''))" 2>/dev/null || true
}

wait_rounds() { # N: until so many rounds are done or the job has ended
    while :; do
        local rounds status
        rounds=$(job_field rounds_done)
        status=$(job_field status)
        [ "${rounds:-0}" -ge "$1" ] && return 0
        [ "$status" = running ] || [ -z "$status" ] || return 1
        sleep 0.2
    done
}

kill_some() { # in the background: kills a client after round 2, the coordinator after round 4
    wait_rounds 2 || return 0
    printf '\n>> kill -9 of client 1\n' >&2
    kill -9 "$1" 2>/dev/null || true
    wait_rounds 3 || return 0
    touch "$dir/restart-client"
    wait_rounds 4 || return 0
    printf '\n>> kill -9 of the coordinator\n' >&2
    touch "$dir/restart-weftd"
    kill -9 "$2" 2>/dev/null || true
}

# ---- set up ---------------------------------------------------------------------------------------
"$weft" init --federation demo --dir "$dir/weftd" --address "localhost:$port" --listen "127.0.0.1:$port" >/dev/null
start_coordinator
printf 'coordinator on localhost:%d; enrolling %d clients\n' "$port" "$clients" >&2
for i in $(seq "$clients"); do
    "$weft" client invite "client$i" --output "$dir/client$i.join" >/dev/null
    "$client" enrol --state "$dir/client$i" "$dir/client$i.join" >>"$dir/client$i.log" 2>&1
    start_client "$i"
done
minimum=$(((clients + 1) / 2))
[ "$minimum" -ge 3 ] || minimum=3 # fewer would not hide one another
sed "s/^round:.*/round: {target: $clients, minimum: $minimum, deadline: 60s, lease: 5s, selection_window: 1s}/" \
    "$here/digits.yaml" >"$dir/digits.yaml"
"$weft" job submit "$dir/digits.yaml" >/dev/null

# ---- train, with two murders ----------------------------------------------------------------------
if [ $kills = 1 ]; then
    kill_some "${pid[client1]}" "${pid[weftd]}" &
    pid[killer]=$!
fi
"$weft" --timeout 0 job watch digits &
watch=$!
while kill -0 "$watch" 2>/dev/null; do
    if [ -e "$dir/restart-client" ]; then
        rm "$dir/restart-client"
        start_client 1
    fi
    if [ -e "$dir/restart-weftd" ] && ! kill -0 "${pid[weftd]}" 2>/dev/null; then
        rm "$dir/restart-weftd"
        start_coordinator
        printf '>> the coordinator is back; the same round goes on\n' >&2
    fi
    sleep 0.1
done
wait "$watch" || {
    printf 'demo: the job did not end well\n' >&2
    exit 1
}

# ---- use the model --------------------------------------------------------------------------------
model="$dir/digits.safetensors"
"$weft" model release digits >/dev/null
"$weft" model export digits --output "$model" >/dev/null
test_data=${data:-digits:4711:2000}
printf '\nthe released model on digits that no client has seen:\n'
"$weft" model predict "$model" --data "$test_data" --limit 5 2>"$dir/summary"

rounds=$(job_field rounds_done)
bytes=$("$weft" --format json round list digits |
    python3 -c 'import json, sys; print("%.1f MB" % (sum(r["bytes_up"] + r["bytes_down"] for r in json.load(sys.stdin)) / 1e6))')
cat <<TXT

1. $clients clients trained $rounds rounds together in $(($(date +%s) - started)) s and moved $bytes; no example left its client,
   and with secure aggregation no update can be read by the coordinator: it saw masked words, and their sums.
2. $([ $kills = 1 ] && printf 'A client and the coordinator were killed with kill -9 on the way; the rounds went on where they were.' || printf 'Nobody was killed (--no-kills).')
3. On unseen digits: $(sed 's/.*accuracy/accuracy/' "$dir/summary"); the goal was 95 % on the clients' held-out data.
4. The model: $model (safetensors, readable by PyTorch and NumPy).
5. Configuration, keys, databases and logs lie in $dir; remove it when you have looked.
TXT
done_well=1
