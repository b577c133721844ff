#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_backup.sh WEFTD WEFT WEFT_CLIENT: a coordinator is backed up in the middle of a job, dies for good
# and goes on from the backup; weft doctor names what is wrong with a folder, and how to mend it.
set -euo pipefail
weftd=$1 weft=$2 client=$3
# shellcheck source=../support/federation.sh
. "$(dirname "$0")/../support/federation.sh"

init_federation
expect 1 'start weftd once' "$weft" doctor --config "$root/weftd/weftd.yaml"
start_coordinator "$root/weftd"
for name in alice bob; do
    "$weft" client invite "$name" --output "$root/$name.join" >/dev/null
    "$client" run --state "$root/$name" --join "$root/$name.join" --data digits=digits:1:100 --allow-plain \
        --min-cohort 2 >>"$root/$name.log" 2>&1 &
    pid[$name]=$!
done
submit first 100000 digits '' ', max_attempts: 10'
wait_rounds first 2

# ---- a backup beside the running coordinator ----------------------------------------------------------
expect 0 'orphans' "$weft" doctor --config "$root/weftd/weftd.yaml" --deep
expect 0 'checked' "$weft" backup --config "$root/weftd/weftd.yaml" "$root/backup"
expect 1 'is there already' "$weft" backup --config "$root/weftd/weftd.yaml" "$root/backup"
held=$(rounds_done first)
wait_rounds first $((held + 2)) # it went on, undisturbed

# ---- it dies for good, and goes on from the backup ----------------------------------------------------
kill -9 "${pid[weftd]}"
wait "${pid[weftd]}" 2>/dev/null || true
rm -rf "$root/weftd"
expect 0 'never again' "$weft" restore "$root/backup" "$root/again"
expect 1 'is there already' "$weft" restore "$root/backup" "$root/again"
expect 0 'orphans' "$weft" doctor --config "$root/again/weftd.yaml" --deep
start_coordinator "$root/again"
wait_rounds first 2
wait_rounds first $((held + 3)) # the same clients, the same certificates, the same job
"$weft" --format json round list first | python3 -c '
import json, sys
rounds = [r["round"] for r in json.load(sys.stdin) if r["state"] == "done"]
assert rounds == list(range(1, len(rounds) + 1)), rounds'

# ---- what weft doctor finds ---------------------------------------------------------------------------
"$weft" job cancel first >/dev/null
kill "${pid[weftd]}"
wait "${pid[weftd]}" || fail 'weftd did not stop well'
unset "pid[weftd]"
config="$root/again/weftd.yaml"
expect 0 'good' "$weft" doctor --config "$config"
chmod 755 "$root/again/data" && expect 1 'chmod 700' "$weft" doctor --config "$config" && chmod 700 "$root/again/data"
chmod 644 "$root/again/ca.key" && expect 1 'chmod 600' "$weft" doctor --config "$config" && chmod 600 "$root/again/ca.key"
touch "$root/again/data/spool/7.upd" && expect 1 '0 models and 1 uploads' "$weft" doctor --config "$config"
rm "$root/again/data/spool/7.upd"
touch -d '2100-01-01' "$root/again/data/weft.db" && expect 1 'timedatectl' "$weft" doctor --config "$config"
touch "$root/again/data/weft.db"
mv "$root/again/receipt.key" "$root/" && expect 1 'receipt.key' "$weft" doctor --config "$config" && mv "$root/receipt.key" "$root/again/"
"$weft" doctor --config "$config" --format json | python3 -c '
import json, sys
areas = json.load(sys.stdin)
names = ["configuration", "keys", "certificates", "permissions", "disk", "clock", "database", "orphans"]
assert [a["area"] for a in areas] == names and all(a["good"] for a in areas), areas'
# a byte of a model: only --deep reads it, and no backup is made of it
python3 - "$root/again/data/models.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("UPDATE chunk SET data = zeroblob(length(data)) WHERE rowid = (SELECT max(rowid) FROM chunk)")
db.commit()
PY
expect 0 'good' "$weft" doctor --config "$config"
expect 1 'are damaged' "$weft" doctor --config "$config" --deep
expect 1 'are damaged' "$weft" backup --config "$config" "$root/bad"
expect 1 'are damaged' "$weft" restore "$root/again" "$root/bad2"
