#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rounds to a test accuracy on real MNIST, as McMahan et al. (AISTATS 2017) count them.

  ./dev bench fedavg [--case NAME]... [--lr X]... [--seed S] [--state DIR] [--fresh] [--threads N]

Cases (K = 100 clients, C = 0.1, B = 10; reference: the paper's tables 1 and 2; limit: what we hold to):
  2nn iid     E = 1, 97 %: reference 87 rounds, limit 100
  cnn iid     E = 5, 99 %: reference 18 rounds, limit 25
  cnn shards  E = 5, 99 %, two label shards of 300 a client: reference 206 rounds, limit 260; hours
Without --case: the first two. A case takes the best of its learning rates, as the paper does. The
curve is made monotone (best so far); rounds are interpolated linearly between evaluations.

Each run remembers every round under --state (default: bench-fedavg in the build directory): one
that was interrupted goes on where it was, one that has ended costs nothing. JSON lines on stdout,
progress on stderr. MNIST is taken from WEFT_DATA_DIR/mnist (default ../shared/data).
"""
import argparse
import json
import math
import os
import shutil
import subprocess
import sys

CASES = {
    "2nn iid": {"model": "2nn", "split": "iid", "epochs": 1, "target": 0.97, "limit": 100,
                "reference": 87, "rates": [0.1, 0.2, 0.3]},
    "cnn iid": {"model": "cnn", "split": "iid", "epochs": 5, "target": 0.99, "limit": 25,
                "reference": 18, "rates": [0.2, 0.1]},
    "cnn shards": {"model": "cnn", "split": "shards", "epochs": 5, "target": 0.99, "limit": 260,
                   "reference": 206, "rates": [0.1]},
}


def rounds_to(curve, target):
    """Where the monotone curve crosses the target, or None."""
    best, at = 0.0, 0
    for point in curve:
        accuracy = point["test_accuracy"]
        if accuracy >= target:
            return at + (point["round"] - at) * (target - best) / (accuracy - best)
        best, at = max(best, accuracy), point["round"]
    return None


def simulate(program, mnist, case, rate, rounds, options):
    """One run; its curve as a list of points."""
    name = f"{case['model']}-{case['split']}-lr{rate:g}-seed{options.seed}"
    state = os.path.join(options.state, name)
    if options.fresh:
        shutil.rmtree(state, ignore_errors=True)
    os.makedirs(state, exist_ok=True)
    curve = os.path.join(state, "curve.jsonl")
    command = [program, "--data", mnist, "--model", case["model"], "--partition", case["split"],
               "--clients", "100", "--fraction", "0.1", "--batch", "10",
               "--epochs", str(case["epochs"]), "--lr", f"{rate:g}", "--rounds", str(rounds),
               "--target-accuracy", str(case["target"]), "--seed", str(options.seed),
               "--state", state, "--jsonl", curve]
    if options.threads:
        command += ["--threads", str(options.threads)]
    print(f"# {name}: {' '.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench_fedavg: weft-simulate failed with status {done.returncode}")
    with open(curve, encoding="ascii") as f:
        return [json.loads(line) for line in f]


def emit(case, metric, value, unit, reference=None, ratio=None):
    print(json.dumps({"bench": "fedavg", "case": case, "metric": metric, "value": value,
                      "unit": unit, "reference": reference, "ratio": ratio}), flush=True)


def run_case(program, mnist, name, options):
    case = CASES[name]
    metric = f"rounds_to_{case['target'] * 100:.0f}"
    best, best_rate, most, seconds, rounds = None, None, 0.0, 0.0, 0
    for rate in options.lr or case["rates"]:
        # a rate that is no better than the best so far may stop there
        limit = math.ceil(best) if best else case["limit"]
        curve = simulate(program, mnist, case, rate, limit, options)
        seconds += curve[-1]["seconds"]
        rounds += len(curve)
        most = max([most] + [point["test_accuracy"] for point in curve])
        reached = rounds_to(curve, case["target"])
        print(f"# {name} lr {rate:g}: " + (f"{reached:.1f} rounds" if reached else
              f"not within {limit} rounds"), file=sys.stderr, flush=True)
        if reached and (best is None or reached < best):
            best, best_rate = reached, rate
    emit(name, metric, round(best, 2) if best else None, "rounds", case["reference"],
         round(case["reference"] / best, 3) if best else 0)
    if best:
        emit(name, "learning_rate", best_rate, "1")
    emit(name, "best_accuracy", most, "1")
    emit(name, "seconds_per_round", round(seconds / rounds, 3), "s")
    return best is not None and best <= case["limit"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    build = os.environ.get("WEFT_BUILD_DIR",
                           os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--lr", action="append", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", default=os.path.join(build, "bench-fedavg"))
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    program = os.path.join(build, "examples", "simulate", "weft-simulate")
    data = os.environ.get("WEFT_DATA_DIR", os.path.join(build, "..", "..", "shared", "data"))
    mnist = os.path.join(data, "mnist")
    if not os.path.isdir(mnist):
        sys.exit(f"bench_fedavg: no MNIST in {mnist}: set WEFT_DATA_DIR to the folder that holds mnist/")
    held = [run_case(program, mnist, name, options) for name in options.case or ["2nn iid", "cnn iid"]]
    return 0 if all(held) else 1


sys.exit(main())
