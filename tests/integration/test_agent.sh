#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_agent.sh WEFTD WEFT WEFT_CLIENT: the agent against a real coordinator: enrolment, exit statuses,
# rounds, history, clean stop, kill -9 of either side, policy, revocation.
set -euo pipefail
weftd=$1 weft=$2 client=$3
# shellcheck source=../support/federation.sh
. "$(dirname "$0")/../support/federation.sh"

start() { # CLIENT SEED OPTIONS...
    local name=$1 seed=$2
    shift 2
    "$client" run --state "$root/$name" --data "digits=digits:$seed:150" --allow-plain --min-cohort 2 "$@" >>"$root/$name.log" 2>&1 &
    pid[$name]=$!
}
ended() { # CLIENT STATUS: it ends by itself with that status
    local status=0
    wait "${pid[$1]}" || status=$?
    unset "pid[$1]"
    [ "$status" = "$2" ] || fail "$1 ended with $status, not $2"
}

# ---- the command line ---------------------------------------------------------------------------------
expect 64 'enrol, run, status, history or verify-receipt' "$client"
expect 64 'state DIR is missing' "$client" run --data a=b
expect 64 'data NAME=PATH is missing' "$client" run --state "$root/x"
expect 64 'wants NAME=PATH' "$client" run --state "$root/x" --data nothing
expect 64 'data set that is not given' "$client" run --state "$root/x" --data a=b --schema c=d
expect 64 'adversary is active or curious' "$client" run --state "$root/x" --data a=b --adversary evil
expect 64 'gamma wants' "$client" run --state "$root/x" --data a=b --gamma 1
expect 64 'no such command' "$client" dance --state "$root/x"
expect 64 'holdout wants' "$client" run --state "$root/x" --data a=b --holdout 1.5
expect 0 'usage:' "$client" --help
expect 0 'weft-client 0' "$client" --version
expect 1 'there is no client in' "$client" status --state "$root/x"
expect 1 'not digits:SEED:N' "$client" run --state "$root/x" --data digits=digits:1
expect 2 'has not enrolled' "$client" run --state "$root/x" --data digits=digits:1:20

# ---- enrolment ----------------------------------------------------------------------------------------
init_federation
start_coordinator
for name in alice bob; do "$weft" client invite "$name" --output "$root/$name.join" >/dev/null; done
expect 0 'alice is a client of test' "$client" enrol --state "$root/alice" "$root/alice.join"
expect 0 'alice is a client of test' "$client" enrol --state "$root/alice" "$root/alice.join"
expect 2 'refuses the enrolment' "$client" enrol --state "$root/thief" "$root/alice.join"
expect 1 'belongs to client alice' "$client" enrol --state "$root/alice" "$root/bob.join"
expect 0 'not enrolled' "$client" status --state "$root/thief"
kill -9 "${pid[weftd]}"
wait "${pid[weftd]}" 2>/dev/null || true
expect 2 'cannot be reached' "$client" enrol --state "$root/bob" "$root/bob.join"
start_coordinator

# ---- rounds, until nothing is left --------------------------------------------------------------------
submit first 3 digits ', data: "digits:99:200"' # at the coordinator, too
start alice 1 --once
start bob 2 --once --join "$root/bob.join"
ended alice 0
ended bob 0
[ "$(rounds_done first)" = 3 ] || fail 'the first job has not ended'
"$weft" --format json round list first | python3 -c '
import json, sys
for r in json.load(sys.stdin):
    both = [r["eval_metrics"], r["central_metrics"]]
    assert all(0 < m["accuracy"] <= 1 and m["loss"] > 0 for m in both), r
    assert both[0] != both[1] and r["bytes_down"] >= 2 * 7850 * 4, r'
"$client" status --state "$root/alice" --format json | python3 -c '
import json, sys
s = json.load(sys.stdin)
assert s["enrolled"] and s["client"] == "alice" and s["federation"] == "test", s
assert s["accepted"] == 6 and s["refused"] == 0 and s["open_job"] == "", s  # 3 rounds, 3 evaluations
assert s["bytes_sent"] == 3 * 7850 * 4 and s["last_seen_unix_ms"] > 0, s'
"$client" history --state "$root/alice" --format json | python3 -c '
import json, sys
items = [json.loads(line) for line in sys.stdin]
assert [i["task"] for i in items] == ["train", "evaluate"] * 3, items
assert all(i["outcome"] == "accepted" and i["job"] == "first" for i in items), items'
expect 0 'first .* round 3 .* accepted' "$client" history --state "$root/alice"

# ---- kill -9 of a client and of the coordinator -------------------------------------------------------
submit second 8
start alice 1
start bob 2
wait_rounds second 1
kill -9 "${pid[alice]}"
wait "${pid[alice]}" 2>/dev/null || true
start alice 1
wait_rounds second 3
kill -9 "${pid[weftd]}"
wait "${pid[weftd]}" 2>/dev/null || true
start_coordinator
wait_rounds second 5
expect 0 'updates ' "$client" status --state "$root/bob" # beside the process that runs
expect 1 'another process works with the client' "$client" run --state "$root/bob" --data digits=digits:1:20
wait_rounds second 8

# ---- clean stop ---------------------------------------------------------------------------------------
kill -TERM "${pid[alice]}"
kill -INT "${pid[bob]}"
ended alice 0
ended bob 0

# ---- never a silent wait ------------------------------------------------------------------------------
submit lonely 1 nobody
"$weft" job watch lonely >"$root/watched.log" &
watch=$!
for _ in $(seq 200); do
    grep -q 'lonely: ' "$root/watched.log" && break
    sleep 0.1
done
grep -q 'lonely: waiting for clients: 0 with data set nobody are here, at least 2 are needed' "$root/watched.log" ||
    fail "the watch says: $(cat "$root/watched.log")"
"$weft" job cancel lonely >/dev/null
wait "$watch" && fail 'a canceled job was watched with success'
grep -q 'lonely is canceled' "$root/watched.log" || fail "the watch says: $(cat "$root/watched.log")"

# ---- the owner's policy, revocation -------------------------------------------------------------------
submit third 1
start alice 1 --allow 'first,sec*'
"$client" run --state "$root/bob" --data digits=digits:2:150 --min-cohort 2 >>"$root/bob.log" 2>&1 & # no plain jobs
pid[bob]=$!
declines() { # CLIENT REASON
    for _ in $(seq 200); do
        "$client" history --state "$root/$1" | grep -q "third .*declined: $2" && break
        sleep 0.1
    done
    expect 0 "third .*declined: $2" "$client" history --state "$root/$1"
}
declines alice 'job third is not among'
declines bob 'no secure aggregation'
"$weft" client revoke alice --reason 'left us' >/dev/null
ended alice 2
grep -q 'the client has ended: .*revoked' "$root/alice.log" || fail 'alice was not told that she is revoked'
kill -TERM "${pid[bob]}"
ended bob 0
