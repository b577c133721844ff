#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long weftd takes from its start to serving, with much behind it.

  ./dev bench startup [--jobs N] [--rounds N] [--updates N] [--parameters N] [--repeat N]

A coordinator's folder is filled without training: --jobs jobs that have ended (1000), each with
--rounds rounds (20) of ten updates and a version each; and one open round with --updates accepted
updates (1000) of --parameters float32 values (100000) in the spool, one short of its target, as a
kill -9 leaves it. Then weftd is started, --repeat times (3; the best counts):

  ready_s          start of the process to its ready line; limit 2 s
  first_answer_s   start of the process to the answers that list all jobs and the open round

JSON lines on stdout.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

LIMIT_S = 2.0
UPDATES_A_ROUND = 10
JOB = """name: {name}
dataset: d
model: |
  input {inputs}
  dense units=1
  loss mse
round: {{target: {target}, minimum: {minimum}, over_selection: 1, deadline: 1h, lease: 1h}}
aggregation: {{clip_norm: 1000000, max_examples: 10, secure: false}}
stop: {{rounds: 1000}}
"""


class Coordinator:
    def __init__(self, build, root):
        self.weftd = os.path.join(build, "server", "app", "weftd")
        self.weft = os.path.join(build, "server", "cli", "weft")
        self.root = root
        self.process = None
        self.address = None

    def start(self):
        """Seconds from the start of the process to its ready line."""
        begun = time.monotonic()
        with open(os.path.join(self.root, "weftd.log"), "ab") as log:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(
                [self.weftd, "--config", os.path.join(self.root, "weftd", "weftd.yaml"), "--listen", "127.0.0.1:0"],
                stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        seconds = time.monotonic() - begun
        if "weftd ready" not in line:
            sys.exit(f"bench_startup: weftd did not start: see {self.root}/weftd.log")
        self.address = line.split("address=")[1].split()[0]
        return seconds

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def run(self, *arguments):
        done = subprocess.run([self.weft, "--operator", os.path.join(self.root, "operator"), "--address", self.address,
                               "--format", "json", *arguments], stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout) if done.stdout.strip() else None


def same_length(blob, old, new):
    """The stored definition under another name of the same length."""
    if len(old) != len(new) or blob.count(old.encode()) != 1:
        sys.exit("bench_startup: the job's name is not where it was expected")
    return blob.replace(old.encode(), new.encode())


def columns(db, table):
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def insert(db, table, rows):
    """rows: dicts over the columns of an existing row, or of the table."""
    names = list(rows[0])
    db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                   [tuple(row[name] for name in names) for row in rows])


def round_row(job_id, number, state, base, version, cohort, accepted, update_bytes):
    return {"job_id": job_id, "round": number, "attempt": 1, "state": state, "reason": "", "base": base,
            "version": version, "eligible": cohort, "cohort": cohort, "accepted": accepted,
            "n_examples": accepted, "deadline_ms": 3600000 if state == 1 else 0, "opened_unix_ms": 1700000000000,
            "closed_unix_ms": 0 if state == 1 else 1700000001000, "bytes_up": accepted * update_bytes,
            "changed_unix_ms": 1700000001000}


def assignment_row(number, job_id, round_number, client, state, digest, update_bytes):
    return {"assignment_id": number, "job_id": job_id, "round": round_number, "attempt": 1, "client": client,
            "task": 1, "state": state, "refusal": 0, "reason": "", "lease_until_ms": 3600000,
            "update_digest": digest, "n_examples": 1 if state == 2 else 0,
            "bytes": update_bytes if state == 2 else 0, "accepted_unix_ms": 1700000000500,
            "changed_unix_ms": 1700000000500}


def fill(options, data, update_bytes):
    """Past jobs and one open round, as rows; its updates, as files."""
    db = sqlite3.connect(os.path.join(data, "weft.db"), isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    names = columns(db, "job")
    past = dict(zip(names, db.execute("SELECT * FROM job WHERE name = 'p00000'").fetchone()))
    big = dict(zip(names, db.execute("SELECT * FROM job WHERE name = 'open00'").fetchone()))
    next_assignment = 1
    for i in range(1, options.jobs):
        job_id, name = 1000 + i, f"p{i:05d}"
        insert(db, "job", [dict(past, job_id=job_id, name=name, status=3, rounds_done=options.rounds,
                                round=options.rounds + 1, definition=same_length(past["definition"], "p00000", name))])
        insert(db, "round", [round_row(job_id, r, 4, past["version"], past["version"], UPDATES_A_ROUND,
                                       UPDATES_A_ROUND, 1000) for r in range(1, options.rounds + 1)])
        insert(db, "assignment", [assignment_row(next_assignment + k, job_id, 1 + k // UPDATES_A_ROUND,
                                                 f"client{k % UPDATES_A_ROUND}", 2, random.randbytes(32), 1000)
                                  for k in range(options.rounds * UPDATES_A_ROUND)])
        next_assignment += options.rounds * UPDATES_A_ROUND
    n = options.updates
    insert(db, "round", [round_row(big["job_id"], 1, 1, big["version"], None, n + 1, n, update_bytes)])
    insert(db, "eligible", [{"job_id": big["job_id"], "round": 1, "attempt": 1, "n": n + 1,
                             "clients": "\n".join(sorted(f"open{i}" for i in range(n + 1)))}])
    values = [random.uniform(-0.01, 0.01) for _ in range(options.parameters)]
    for i in range(n + 1):
        values[i % options.parameters] += 0.001
        update = struct.pack(f"<{options.parameters}f", *values)
        accepted = i < n
        insert(db, "assignment", [assignment_row(next_assignment + i, big["job_id"], 1, f"open{i}", 2 if accepted else 1,
                                                 hashlib.sha256(update).digest() if accepted else None, update_bytes)])
        if accepted:
            with open(os.path.join(data, "spool", f"{next_assignment + i}.upd"), "wb") as f:
                f.write(update)
    db.execute("COMMIT")
    db.close()


def emit(metric, value, unit, reference=None, ratio=None, case=""):
    print(json.dumps({"bench": "startup", "case": case, "metric": metric, "value": value, "unit": unit,
                      "reference": reference, "ratio": ratio}), flush=True)


def round_done(coordinator):
    return any(r["state"] == "done" for r in coordinator.run("round", "list", "open00"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = os.environ.get("WEFT_BUILD_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--parameters", type=int, default=100000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    random.seed(1)
    root = tempfile.mkdtemp(prefix="weft-bench-startup-")
    coordinator = Coordinator(build, root)
    try:
        subprocess.run([coordinator.weft, "init", "--federation", "bench", "--dir", os.path.join(root, "weftd"),
                        "--operator", os.path.join(root, "operator")], stdout=subprocess.DEVNULL, check=True)
        coordinator.start()
        for name, target, inputs in (("p00000", 10, 10), ("open00", options.updates + 1, options.parameters - 1)):
            path = os.path.join(root, name + ".yaml")
            with open(path, "w", encoding="ascii") as f:
                f.write(JOB.format(name=name, inputs=inputs, target=target, minimum=min(target, options.updates)))
            coordinator.run("job", "submit", path)
        coordinator.run("job", "cancel", "p00000")
        coordinator.stop()
        fill(options, os.path.join(root, "weftd", "data"), 4 * options.parameters)
        ready = []
        for _ in range(options.repeat):
            ready.append(coordinator.start())
            coordinator.kill()
        case = f"{options.jobs} jobs, {options.updates} updates of {4 * options.parameters / 1e6:g} MB"
        best = min(ready)
        emit("ready_s", round(best, 3), "s", LIMIT_S, round(LIMIT_S / best, 3), case)
        # and the open round is whole: it goes on from here
        begun = time.monotonic()
        coordinator.start()
        jobs = coordinator.run("job", "list")
        rounds = coordinator.run("round", "list", "open00")
        emit("first_answer_s", round(time.monotonic() - begun, 3), "s", case=case)
        good = len(jobs) == options.jobs + 1 and rounds[-1]["accepted"] == options.updates and not round_done(coordinator)
        coordinator.kill()
        if not good:
            sys.exit("bench_startup: what was restored is not what was there")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0 if best < LIMIT_S else 1


sys.exit(main())
