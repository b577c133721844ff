#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weft-simulate from outside: check_simulate.py WEFT_SIMULATE [--learning | --secure]

The same seed gives the same bytes on any number of threads and over an interruption at any moment;
partitions, dropouts, CSV data and job files work; mistakes are told. --learning (longer): on drawn
digits a linear model stays clearly below a small CNN. --secure (longer): a secure cohort of 1000.
"""
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile

SIMULATE = os.path.abspath(sys.argv[1])
SMALL = ["--examples", "600", "--test-examples", "200", "--clients", "12", "--fraction", "0.5",
         "--rounds", "4", "--lr", "0.2"]


def run(*args, status=0):
    done = subprocess.run([SIMULATE, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{args}: status {done.returncode}: {done.stderr}"
    return done


def result(*args):
    return json.loads(run(*args, "--quiet").stdout)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def check_threads():
    digests, curves = set(), set()
    for threads in (1, 2, 5):
        r = result(*SMALL, "--threads", threads, "--csv", "curve.csv")
        digests.add(r["digest"])
        curves.add(read("curve.csv"))
        assert r["rounds"] == 4 and r["vanished"] == 0, r
    assert len(digests) == 1 and len(curves) == 1, digests
    assert result(*SMALL, "--seed", "2")["digest"] not in digests
    lines = list(csv.DictReader(curves.pop().decode().splitlines()))
    assert [int(line["round"]) for line in lines] == [1, 2, 3, 4]
    assert all(int(line["clients"]) == 6 and int(line["examples"]) == 300 for line in lines)


def check_resume():
    whole = result(*SMALL, "--csv", "whole.csv")
    result(*SMALL, "--rounds", "1", "--state", "one")
    for _ in range(2):  # goes on; then there is nothing left to do
        r = result(*SMALL, "--state", "one", "--csv", "parts.csv", "--jsonl", "parts.jsonl")
        assert r["digest"] == whole["digest"] and r["rounds"] == 4, r
        assert read("parts.csv") == read("whole.csv")
        with open("parts.jsonl", encoding="ascii") as f:
            assert [json.loads(line)["round"] for line in f] == [1, 2, 3, 4]
    # killed as soon as it says something, again and again
    killed = 0
    for _ in range(20):
        process = subprocess.Popen([SIMULATE, *SMALL, "--state", "killed"], stderr=subprocess.PIPE)
        while line := process.stderr.readline():
            if line.startswith(b"round"):
                process.send_signal(signal.SIGKILL)
        process.stderr.close()
        if process.wait() == 0:
            break
        killed += 1
    assert killed > 0
    assert result(*SMALL, "--state", "killed")["digest"] == whole["digest"]
    told = run(*SMALL, "--lr", "0.3", "--state", "one", status=1).stderr
    assert "another simulation" in told, told


def check_partitions():
    for split in ("shards", "shards:3", "dirichlet:0.3"):
        r = result(*SMALL, "--partition", split, "--jsonl", "p.jsonl")
        assert r["rounds"] == 4, r
    assert result(*SMALL, "--style", "0.8")["digest"] != result(*SMALL)["digest"]


def check_dropout():
    args = [*SMALL, "--dropout", "0.4", "--rounds", "8"]
    first, second = result(*args, "--threads", "1"), result(*args, "--threads", "3")
    assert first["vanished"] > 3, first
    assert (first["digest"], first["vanished"]) == (second["digest"], second["vanished"])
    assert result(*args, "--over-selection", "1.5")["rounds"] == 8


def check_stop():
    r = result("--examples", "2000", "--clients", "10", "--fraction", "1", "--rounds", "60",
               "--lr", "0.2", "--target-accuracy", "0.5")
    assert r["rounds"] < 60 and r["test_accuracy"] >= 0.5, r


def check_csv():
    rng = random.Random(1)
    with open("data.csv", "w", encoding="ascii") as f:
        f.write("site,x,kind,y\n")
        for i in range(400):
            x, kind = rng.gauss(50, 10), rng.choice("ab")
            y = "yes" if x + (8 if kind == "a" else -8) > 50 else "no"
            f.write(f"site{i % 4},{'' if i % 17 == 0 else round(x, 3)},{kind},{y}\n")
    with open("schema.txt", "w", encoding="ascii") as f:
        f.write("column site group\ncolumn x numeric mean=50 std=10 missing_flag=1\n"
                "column kind categorical values=a,b\ntarget y values=no,yes\n")
    r = result("--data", "data.csv", "--schema", "schema.txt", "--partition", "column",
               "--model", "linear", "--fraction", "1", "--rounds", "15", "--lr", "0.5")
    assert r["test_accuracy"] > 0.85, r
    assert "a data schema must say" in run("--data", "data.csv", status=1).stderr


def check_job_and_export():
    with open("job.yaml", "w", encoding="ascii") as f:
        f.write("name: tried\ndataset: digits\nmodel: |\n  input 28x28x1\n  flatten\n"
                "  dense units=10\n  loss softmax_cross_entropy\n"
                "train: {learning_rate: 0.1, batch_size: 20, epochs: 1}\n"
                "round: {target: 3, minimum: 3, over_selection: 1}\n"
                "evaluation: {clients: 3, every: 1}\nstop: {rounds: 3}\n")
    small = ["--job", "job.yaml", "--examples", "300", "--clients", "6"]
    r = result(*small, "--export", "model.safetensors")
    assert r["rounds"] == 3 and r["secure_sums"] == 6, r  # the job is secure, as jobs are; and evaluates
    blob = read("model.safetensors")
    header = json.loads(blob[8:8 + int.from_bytes(blob[:8], "little")])
    assert header["__metadata__"]["weft.digest"] == r["digest"]
    assert header["__metadata__"]["weft.job"] == "tried"
    assert header["dense1.weight"]["shape"] == [10, 784]
    assert result(*small, "--rounds", "2")["rounds"] == 2  # an option comes before the file
    run(*small, "--export", "model.npz")
    assert read("model.npz")[:2] == b"PK"
    # from given weights: as safetensors or NPZ they are the same start, and another than the seed's
    further = [result(*small, "--init", f)["digest"] for f in ("model.safetensors", "model.npz")]
    assert further[0] == further[1] != r["digest"], further
    args = [*small, "--init", "model.npz", "--state", "further"]
    result(*args, "--rounds", "1")
    assert result(*args)["digest"] == further[0]
    assert "has another shape" in run(*small, "--model", "2nn", "--init", "model.npz", status=1).stderr


def secure_run(clients, *more):
    """One round of everybody; each sum is compared inside, word for word, with the plain one."""
    return result("--secure", "--clients", clients, "--fraction", "1", "--model", "linear",
                  "--examples", 3 * clients, "--test-examples", "200", "--rounds", "1", *more)


def check_secure(clients=100):
    plain = result("--clients", clients, "--fraction", "1", "--model", "linear", "--examples",
                   3 * clients, "--test-examples", "200", "--rounds", "1")
    r = secure_run(clients)
    assert (r["secure_sums"], r["masked_vectors"], r["dropped"]) == (1, clients, 0), r
    assert 0 < r["t"] < r["k"] < clients - 1, r  # a graph, not everybody with everybody
    assert abs(r["test_loss"] - plain["test_loss"]) < 1e-5 and r["digest"] != plain["digest"], r
    r = secure_run(clients, "--dropout", "0.06")  # at any step of the protocol
    assert r["secure_sums"] == 1 and r["dropped"] > 0 and r["vanished"] >= r["dropped"], r


def check_secure_resume():
    small = ["--secure", *SMALL]
    whole = result(*small, "--threads", "1")
    result(*small, "--rounds", "2", "--state", "one")
    r = result(*small, "--state", "one", "--threads", "3")
    assert r["digest"] == whole["digest"] and whole["secure_sums"] == 4, (r, whole)
    told = run("--secure", "--clients", "2", "--fraction", "1", "--examples", "100", status=1).stderr
    assert "round.target is 2, a secure sum of fewer than 3 clients hides nobody" in told, told


def check_secure_long():
    check_secure(1000)


def check_mistakes():
    for args, words in ((["--roundz", "3"], "unknown option --roundz"),
                        (["--rounds"], "--rounds wants a value"),
                        (["--rounds", "0"], "--rounds 0: wanted is a number, 1 to 1e+06"),
                        (["--rounds", "1.5"], "wanted is a whole number"),
                        (["--partition", "x"], "wanted is iid, shards"),
                        (["--seed", "-1"], "wanted is a whole number below 2^64")):
        told = run(*args, status=64).stderr
        assert words in told, (args, told)
    for args, words in ((["--data", "nowhere"], "cannot open nowhere"),
                        (["--clients", "100000"], "cannot be split into 100000 parts"),
                        (["--partition", "column"], "column of kind 'group'"),
                        (["--model", "nofile"], "cannot open nofile")):
        told = run(*args, status=1).stderr
        assert words in told, (args, told)
    assert "--partition P" in run("--help").stdout


def check_learning():
    """What the demo and the README claim of the drawn digits."""
    with open("small.spec", "w", encoding="ascii") as f:
        f.write("input 28x28x1\nconv2d filters=16 kernel=5 padding=same\nrelu\nmaxpool size=2\n"
                "conv2d filters=32 kernel=5 padding=same\nrelu\nmaxpool size=2\nflatten\n"
                "dense units=64\nrelu\ndense units=10\nloss softmax_cross_entropy\n")
    one = ["--clients", "1", "--fraction", "1", "--examples", "4000", "--test-examples", "2000"]
    linear = result(*one, "--model", "linear", "--rounds", "40", "--lr", "0.05")["best_accuracy"]
    cnn = result(*one, "--model", "small.spec", "--rounds", "8", "--lr", "0.1")["best_accuracy"]
    print(f"drawn digits, 4000 examples: linear {linear:.3f}, small CNN {cnn:.3f}")
    assert linear <= 0.92 and cnn >= 0.97, (linear, cnn)


def main():
    checks = [check_learning] if "--learning" in sys.argv else (
        [check_secure_long] if "--secure" in sys.argv else [
            check_threads, check_resume, check_partitions, check_dropout, check_stop, check_csv,
            check_job_and_export, check_secure, check_secure_resume, check_mistakes])
    for check in checks:
        with tempfile.TemporaryDirectory() as dir:
            os.chdir(dir)
            check()
            os.chdir("/")
        print(f"ok {check.__name__}", flush=True)


main()
