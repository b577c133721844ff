#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of bench_engine: trains and infers in slices, on command over a pipe.

It installs nothing: without torch it says so and ends. Commands on stdin, one answer line each:
  setup MODEL BATCH THREADS COMPILE   builds the model in every variant (memory format, eager or
                                      compiled) and keeps the fastest: "ok NAME"
  train SECONDS CPU                   samples a second of training steps (CPU 1: of CPU time)
  infer SECONDS                       "median p99" microseconds of forwards of one example
  memory                              peak RSS in MB
A step is zero_grad, forward, cross-entropy, backward and SGD on a contiguous part of the data:
no indexing, no reading of the loss, both of which weft's slices do have.
"""

import resource
import sys
import time

N_EXAMPLES = 600


def models(torch):
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
            self.norm1 = nn.GroupNorm(8, cout)
            self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
            self.norm2 = nn.GroupNorm(8, cout)
            self.short = None
            if stride != 1 or cin != cout:
                self.short = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.GroupNorm(8, cout))

        def forward(self, x):
            y = torch.relu(self.norm1(self.conv1(x)))
            y = self.norm2(self.conv2(y))
            return torch.relu(y + (x if self.short is None else self.short(x)))

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(90, 8)
            self.lstm = nn.LSTM(8, 256, num_layers=2, batch_first=True)
            self.out = nn.Linear(256, 90)

        def forward(self, x):
            y, _ = self.lstm(self.embed(x))
            return self.out(y).transpose(1, 2)

    return {
        "2nn": (lambda: nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)), (784,)),
        "cnn": (lambda: nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10)), (1, 28, 28)),
        "cifar": (lambda: nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
                                        nn.MaxPool2d(2), nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                        nn.Flatten(), nn.Linear(8192, 256), nn.ReLU(), nn.Linear(256, 10)), (3, 32, 32)),
        "resnet8": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(8, 16), nn.ReLU(),
                                          Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2),
                                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)), (3, 32, 32)),
        "lstm": (Lstm, (80,)),
    }


class Side:
    """One variant of one model with its data."""

    def __init__(self, torch, name, batch, channels_last, compiled):
        build, shape = models(torch)[name]
        torch.manual_seed(1)
        self.torch, self.batch, self.at = torch, batch, 0
        self.name = ("channels_last" if channels_last else "contiguous") + (" compiled" if compiled else " eager")
        model = build()
        if name == "lstm":
            self.x = torch.randint(0, 90, (N_EXAMPLES,) + shape)
            self.y = torch.randint(0, 90, (N_EXAMPLES,) + shape)
        else:
            self.x = torch.rand((N_EXAMPLES,) + shape)
            self.y = torch.arange(N_EXAMPLES) % 10
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        try:
            self.sgd = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
        except (RuntimeError, TypeError):
            self.sgd = torch.optim.SGD(model.parameters(), lr=0.01)
        self.model = torch.compile(model) if compiled else model
        self.loss = torch.nn.CrossEntropyLoss()
        self.step()
        self.step()

    def step(self):
        x, y = self.x[self.at:self.at + self.batch], self.y[self.at:self.at + self.batch]
        self.at = (self.at + self.batch) % (N_EXAMPLES - N_EXAMPLES % self.batch)
        self.sgd.zero_grad(set_to_none=True)
        self.loss(self.model(x), y).backward()
        self.sgd.step()

    def train(self, seconds, clock):
        start, steps, now = clock(), 0, 0.0
        while now < seconds:
            for _ in range(max(1, 50 // self.batch)):
                self.step()
                steps += 1
            now = clock() - start
        return steps * self.batch / now

    def infer(self, seconds):
        times, start = [], time.perf_counter()
        with self.torch.inference_mode():
            x = self.x[:1]
            while time.perf_counter() - start < seconds or len(times) < 20:
                t = time.perf_counter_ns()
                self.model(x)
                times.append((time.perf_counter_ns() - t) / 1000)
        times.sort()
        return times[len(times) // 2], times[len(times) * 99 // 100]


def setup(torch, name, batch, threads, compiled):
    torch.set_num_threads(threads)
    best, best_rate = None, 0.0
    for channels_last in (False, True) if name in ("cnn", "cifar", "resnet8") else (False,):
        for with_compiler in (False, True) if compiled else (False,):
            try:
                side = Side(torch, name, batch, channels_last, with_compiler)
                rate = max(side.train(0.3, time.process_time) for _ in range(2))
            except Exception as problem:  # a compiler that does not work here
                print(f"torch_ref: {name} without a variant: {str(problem).splitlines()[:1]}", file=sys.stderr)
                continue
            if rate > best_rate:
                best, best_rate = side, rate
    return best


def main():
    try:
        import torch
    except ImportError:
        print("no torch", flush=True)
        return
    print(f"torch {torch.__version__}", flush=True)
    side = None
    for line in sys.stdin:
        command, *args = line.split()
        if command == "setup":
            side = setup(torch, args[0], int(args[1]), int(args[2]), args[3] == "1")
            answer = f"ok {side.name}" if side else "failed"
        elif command == "train":
            answer = f"{side.train(float(args[0]), time.process_time if args[1] == '1' else time.perf_counter):.1f}"
        elif command == "infer":
            answer = "{:.2f} {:.2f}".format(*side.infer(float(args[0])))
        else:
            answer = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
