#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One case of bench_rounds with Flower, unchanged, by its fastest path: start_server and
start_client without TLS, clients that add 1 to every weight.

Usage: flower_rounds.py N_PARAMS N_CLIENTS [SECONDS]; needs flwr (1.23).
Prints: rounds_per_s s_per_round coordinator_cpu_s_per_round coordinator_mb largest_client_mb
"""
import logging
import os
import signal
import socket
import subprocess
import sys
import time


def peak_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def client(address):
    import flwr
    import numpy

    class AddOne(flwr.client.NumPyClient):
        def fit(self, parameters, config):
            return [p + numpy.float32(1) for p in parameters], 1, {}

    flwr.client.start_client(server_address=address, client=AddOne().to_client())


class Enough(Exception):
    pass


def serve(n_params, n_clients, seconds):
    import flwr
    import numpy

    logging.getLogger("flwr").setLevel(logging.ERROR)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    began = []  # (time, CPU seconds) at the start of each round

    class Timed(flwr.server.strategy.FedAvg):
        def configure_fit(self, *args, **kwargs):
            began.append((time.monotonic(), time.process_time()))
            # two rounds to warm up, three at least to measure
            if len(began) > 5 and began[-1][0] - began[2][0] > seconds:
                raise Enough
            return super().configure_fit(*args, **kwargs)

    start = flwr.common.ndarrays_to_parameters([numpy.zeros(n_params, numpy.float32)])
    strategy = Timed(
        fraction_evaluate=0.0,
        min_fit_clients=n_clients,
        min_available_clients=n_clients,
        initial_parameters=start,
    )
    command = [sys.executable, os.path.abspath(__file__), "--client", address]
    clients = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(n_clients)
    ]
    try:
        flwr.server.start_server(
            server_address=address,
            config=flwr.server.ServerConfig(num_rounds=1000000),
            strategy=strategy,
        )
    except Enough:
        pass
    finally:
        largest = max(peak_mb(c.pid) for c in clients)
        for c in clients:
            c.send_signal(signal.SIGKILL)
            c.wait()
    rounds = len(began) - 3
    wall = (began[-1][0] - began[2][0]) / rounds
    cpu = (began[-1][1] - began[2][1]) / rounds
    print(1 / wall, wall, cpu, peak_mb("self"), largest, flush=True)
    os._exit(0)  # the server's threads wait for clients that are gone


if __name__ == "__main__":
    if sys.argv[1] == "--client":
        client(sys.argv[2])
    else:
        serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 4.0)
