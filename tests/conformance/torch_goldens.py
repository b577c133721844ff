#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What PyTorch computes, as numbers for tests/unit/test_nn_torch.c, which needs no PyTorch.

    python torch_goldens.py | clang-format --assume-filename=x.h > tests/unit/nn_torch_goldens.h

Made with torch 2.13.0. Each spec is run by PyTorch's own functions over views of one flat vector in
weft's order, so that its gradient is in weft's order, too. Weights, inputs and truth are drawn by
value() here and there, and are not written down.
"""
import torch
from torch.nn import functional as F

STEPS = 4

# one or a few layers of each kind; small, as every gradient is written down
LAYERS = [
    ("dense", "input 5\ndense units=3\nloss mse\n"),
    ("dense of steps", "input 3x2\ndense units=3 bias=0\nloss softmax_cross_entropy\n"),
    ("conv2d", "input 4x5x2\nconv2d filters=3 kernel=3x2 padding=1 stride=2\nflatten\nloss mse\n"),
    ("conv2d same", "input 3x4x1\nconv2d filters=2 kernel=3 padding=same\nflatten\nloss mse\n"),
    ("conv2d groups", "input 4x4x4\nconv2d filters=6 kernel=2 groups=2 bias=0\nflatten\n"
     "dense units=2\nloss softmax_cross_entropy\n"),
    ("conv2d depthwise", "input 4x4x3\nconv2d filters=3 kernel=3 groups=3\nflatten\nloss mse\n"),
    ("maxpool", "input 4x4x2\nconv2d filters=2 kernel=1\nrelu\nmaxpool size=2\nflatten\nloss mse\n"),
    ("maxpool stride", "input 5x5x1\nconv2d filters=2 kernel=2\nmaxpool size=3 stride=1\nflatten\n"
     "loss mse\n"),
    ("avgpool", "input 4x4x1\nconv2d filters=2 kernel=1\navgpool size=2\nflatten\nloss mse\n"),
    ("globalavgpool", "input 3x2x2\nconv2d filters=3 kernel=1\nglobalavgpool\nloss mse\n"),
    ("relu", "input 4\ndense units=3\nrelu\ndense units=2\nloss mse\n"),
    ("leaky_relu", "input 4\ndense units=3\nleaky_relu slope=0.2\nloss mse\n"),
    ("tanh", "input 4\ndense units=3\ntanh\nloss mse\n"),
    ("sigmoid", "input 4\ndense units=3\nsigmoid\nloss mse\n"),
    ("gelu", "input 4\ndense units=3\ngelu\nloss mse\n"),
    ("silu", "input 4\ndense units=3\nsilu\nloss mse\n"),
    ("groupnorm", "input 3x2x4\nconv2d filters=4 kernel=1\ngroupnorm groups=2\nflatten\nloss mse\n"),
    ("layernorm", "input 5\ndense units=4\nlayernorm\nloss mse\n"),
    ("layernorm of steps", "input 3x3\ndense units=4\nlayernorm\nlast\nloss mse\n"),
    ("batchnorm", "input 2x3x2\nconv2d filters=3 kernel=1\nbatchnorm\nflatten\nloss mse\n"),
    ("embedding", "input tokens=4 vocab=5\nembedding dims=3\nlast\ndense units=2\nloss mse\n"),
    ("lstm", "input 4x3\nlstm units=2\nlast\nloss mse\n"),
    ("lstm of steps", "input 4x2\nlstm units=3 bias=0\nloss softmax_cross_entropy\n"),
    ("gru", "input 4x3\ngru units=2\nlast\nloss mse\n"),
    ("gru of steps", "input 4x2\ngru units=3 bias=0\nloss softmax_cross_entropy\n"),
    ("branches", "input 4x4x2\nsave in\nconv2d filters=2 kernel=3 padding=1\nrelu\nsave main\n"
     "from in\nconv2d filters=2 kernel=1\nadd main\nrelu\nflatten\nloss mse\n"),
    ("softmax_cross_entropy", "input 4\ndense units=3\nloss softmax_cross_entropy\n"),
    ("class weights", "input 4\ndense units=3\nloss softmax_cross_entropy weights=0.5,2,3\n"),
    ("class weights of steps",
     "input 5x2\ndense units=3\nloss softmax_cross_entropy weights=0.5,2,3\n"),
    ("sigmoid_cross_entropy", "input 4\ndense units=3\nloss sigmoid_cross_entropy\n"),
    ("huber", "input 4\ndense units=3\nloss huber delta=0.3\n"),
]

MODEL = "input 5\ndense units=4\ntanh\ndense units=3\nloss softmax_cross_entropy\n"
WEIGHTED = MODEL.rstrip("\n") + " weights=1,4,0.5\n"
# name, spec, fields of weft_plan that are not the defaults
RUNS = [
    ("sgd", MODEL, {"learning_rate": 0.5}),
    ("momentum and weight decay", MODEL,
     {"learning_rate": 0.2, "momentum": 0.9, "weight_decay": 0.05}),
    ("plain weight decay", MODEL, {"learning_rate": 0.5, "weight_decay": 0.05}),
    ("adam", MODEL, {"optimizer": "adam", "learning_rate": 0.05}),
    ("adam and weight decay", MODEL,
     {"optimizer": "adam", "learning_rate": 0.05, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.9,
      "epsilon": 1e-3}),
    ("proximal term", MODEL, {"learning_rate": 0.5, "prox_mu": 0.7}),
    ("clipped gradient", MODEL, {"learning_rate": 0.5, "momentum": 0.5, "clip_gradient": 0.1}),
    ("class weights", WEIGHTED, {"learning_rate": 0.5}),
    ("step", MODEL, {"learning_rate": 0.5, "schedule": "step", "schedule_rounds": 1,
                     "schedule_factor": 0.25, "round": 2}),
    ("cosine", MODEL, {"learning_rate": 0.5, "schedule": "cosine", "schedule_rounds": 2,
                       "schedule_factor": 0.1, "round": 2}),
    ("warm-up", MODEL, {"learning_rate": 0.5, "warmup_rounds": 2, "round": 1}),
]


def value(i, salt):
    """-0.5 to 0.5 in steps of 2^-16: exact as a float32."""
    return ((i + 1) * 2654435761 + salt * 40503 * 65537) % 2**32 // 65536 / 65536 - 0.5


def values(n, salt, times=1.0, plus=0.0):
    return [times * value(i, salt) + plus for i in range(n)]


class Spec:
    def __init__(self, text):
        self.lines = []
        for line in text.strip().split("\n"):
            words = line.split()
            options = dict(w.split("=") for w in words[1:] if "=" in w)
            self.lines.append((words[0], [w for w in words[1:] if "=" not in w], options))
        kind, args, options = self.lines[0]
        self.vocab = int(options.get("vocab", 0))
        self.shape = [int(options["tokens"])] if self.vocab else [
            int(d) for d in args[0].split("x")]
        self.loss = self.lines[-1]
        weights = self.loss[2].get("weights")
        self.weights = torch.tensor([float(w) for w in weights.split(",")]) if weights else None


class Run:
    """One forward over a flat vector, made as long as is taken of it."""
    def __init__(self, spec, n, flat=None):
        self.spec, self.n, self.made, self.flat, self.at = spec, n, [], flat, 0
        size = 1
        for d in spec.shape:
            size *= d
        if spec.vocab:
            self.x = torch.tensor([(i * 7 + 3) % spec.vocab for i in range(n * size)])
            self.x = self.x.view(n, size)
        else:
            self.x = torch.tensor(values(n * size, 1, 2.0)).view(n, *spec.shape)

    def take(self, *shape, plus=0.0):
        count = 1
        for d in shape:
            count *= d
        if self.flat is None:
            self.made += [value(self.at + i, 2) + plus for i in range(count)]
            part = torch.tensor(self.made[self.at:])
        else:
            part = self.flat[self.at:self.at + count]
        self.at += count
        return part.view(*shape)

    def conv(self, x, o):
        kernel = [int(k) for k in o["kernel"].split("x")]
        kh, kw = kernel if len(kernel) == 2 else kernel * 2
        groups = int(o.get("groups", 1))
        w = self.take(kh, kw, x.shape[1] // groups, int(o["filters"])).permute(3, 2, 0, 1)
        b = self.take(int(o["filters"])) if o.get("bias", "1") == "1" else None
        padding = o.get("padding", "0")
        return F.conv2d(x, w, b, int(o.get("stride", 1)),
                        padding if padding == "same" else int(padding), 1, groups)

    def recurrent(self, x, kind, o):
        units, gates = int(o["units"]), 4 if kind == "lstm" else 3
        bias = o.get("bias", "1") == "1"
        weights = [self.take(x.shape[2], gates * units).T.contiguous(),
                   self.take(units, gates * units).T.contiguous()]
        weights += [self.take(gates * units), self.take(gates * units)] if bias else []
        h = torch.zeros(1, x.shape[0], units)
        rest = (weights, bias, 1, 0.0, False, False, True)
        if kind == "lstm":
            return torch._VF.lstm(x, (h, h), *rest)[0]
        return torch._VF.gru(x, h, *rest)[0]

    def forward(self):
        x, saved = self.x, {}
        if len(self.spec.shape) == 3:
            x = x.permute(0, 3, 1, 2)
        for kind, args, o in self.spec.lines[1:-1]:
            if kind == "dense":
                w = self.take(x.shape[-1], int(o["units"])).T
                x = F.linear(x, w, self.take(int(o["units"])) if o.get("bias", "1") == "1" else None)
            elif kind == "conv2d":
                x = self.conv(x, o)
            elif kind in ("maxpool", "avgpool"):
                pool = F.max_pool2d if kind == "maxpool" else F.avg_pool2d
                x = pool(x, int(o["size"]), int(o.get("stride", o["size"])))
            elif kind == "globalavgpool":
                x = x.mean((2, 3))
            elif kind == "flatten":  # weft's order of features: rows, columns, channels
                x = x.permute(0, 2, 3, 1).flatten(1)
            elif kind == "leaky_relu":
                x = F.leaky_relu(x, float(o["slope"]))
            elif kind in ("relu", "tanh", "sigmoid", "gelu", "silu"):
                x = getattr(F, kind)(x) if kind not in ("tanh", "sigmoid") else getattr(
                    torch, kind)(x)
            elif kind == "groupnorm":
                c = x.shape[1]
                x = F.group_norm(x, int(o["groups"]), self.take(c), self.take(c))
            elif kind == "layernorm":
                c = x.shape[-1]
                x = F.layer_norm(x, [c], self.take(c), self.take(c))
            elif kind == "batchnorm":
                c = x.shape[1]
                w, b, mean = self.take(c), self.take(c), self.take(c)
                var = self.take(c, plus=1.0)
                x = F.batch_norm(x, mean.detach().clone(), var.detach().clone(), w, b, True)
            elif kind == "embedding":
                x = F.embedding(x, self.take(self.spec.vocab, int(o["dims"])))
            elif kind in ("lstm", "gru"):
                x = self.recurrent(x, kind, o)
            elif kind == "last":
                x = x[:, -1]
            elif kind == "save":
                saved[args[0]] = x
            elif kind == "from":
                x = saved[args[0]]
            elif kind == "add":
                x = x + saved[args[0]]
            else:
                raise ValueError(kind)
        return x

    def loss(self, y):
        kind, args, o = self.spec.loss
        if args[0] == "softmax_cross_entropy":
            classes, count = y.shape[-1], y.numel() // y.shape[-1]
            labels = [(i * 5 + i // 2 + 2) % classes for i in range(count)]
            if y.dim() == 3:  # steps without a label
                labels = [-100 if i % 4 == 3 else v for i, v in enumerate(labels)]
            return F.cross_entropy(y.reshape(count, classes), torch.tensor(labels),
                                   self.spec.weights)
        if args[0] == "sigmoid_cross_entropy":
            targets = torch.tensor(values(y.numel(), 3, 1.0, 0.5)).view(y.shape)
            return F.binary_cross_entropy_with_logits(y, targets)
        targets = torch.tensor(values(y.numel(), 3, 2.0)).view(y.shape)
        if args[0] == "huber":
            return F.huber_loss(y, targets, delta=float(o["delta"]))
        return F.mse_loss(y, targets)


def weights_of(spec, n):
    run = Run(spec, n)
    run.forward()
    return torch.tensor(run.made)


def numbers(t):
    return "{" + ", ".join(f"{v:.9g}" for v in t.detach().flatten().tolist()) + "}"


def text(s):
    return '"' + s.replace("\n", "\\n") + '"'


def layer(name, spec_text):
    n = 3
    spec = Spec(spec_text)
    flat = weights_of(spec, n).requires_grad_()
    run = Run(spec, n, flat)
    y = run.forward()
    loss = run.loss(y)
    loss.backward()
    return (f"{{{text(name)}, {text(spec_text)}, {n}, {flat.numel()}, {y.numel()}, "
            f"{loss.item():.9g}, (const double[]){numbers(y)}, "
            f"(const double[]){numbers(flat.grad)}}},\n")


def schedule_of(optimizer, plan):
    """PyTorch's schedule a batch, at the beginning of the plan's round."""
    S = torch.optim.lr_scheduler
    kind, rate = plan.get("schedule"), plan["learning_rate"]
    batches = int(plan.get("schedule_rounds", 0)) * STEPS
    if kind == "step":
        s = S.StepLR(optimizer, batches, plan["schedule_factor"])
    elif kind == "cosine":
        s = S.CosineAnnealingLR(optimizer, batches, rate * plan["schedule_factor"])
    elif "warmup_rounds" in plan:
        w = plan["warmup_rounds"] * STEPS
        s = S.LinearLR(optimizer, 1.0 / w, 1.0, w - 1)
    else:
        s = S.ConstantLR(optimizer, 1.0)
    for _ in range((plan.get("round", 1) - 1) * STEPS):
        optimizer.step()
        s.step()
    return s


def trained(name, spec_text, plan):
    n = 6
    spec = Spec(spec_text)
    flat = weights_of(spec, n).requires_grad_()
    base = flat.detach().clone()
    decay = plan.get("weight_decay", 0.0)
    if plan.get("optimizer") == "adam":
        betas = (plan.get("beta1", 0.9), plan.get("beta2", 0.999))
        optimizer = torch.optim.Adam([flat], plan["learning_rate"], betas, plan.get("epsilon", 1e-8),
                                     decay)
    else:
        optimizer = torch.optim.SGD([flat], plan["learning_rate"], plan.get("momentum", 0.0),
                                    weight_decay=decay)
    schedule = schedule_of(optimizer, plan)
    for _ in range(STEPS):
        optimizer.zero_grad()
        run = Run(spec, n, flat)
        run.loss(run.forward()).backward()
        if "clip_gradient" in plan:
            torch.nn.utils.clip_grad_norm_([flat], plan["clip_gradient"])
        flat.grad += plan.get("prox_mu", 0.0) * (flat.detach() - base)
        optimizer.step()
        schedule.step()
    fields = dict(plan)
    fields["optimizer"] = "WEFT_OPTIMIZER_" + plan.get("optimizer", "sgd").upper()
    fields["schedule"] = "WEFT_SCHEDULE_" + plan.get("schedule", "constant").upper()
    round_ = fields.pop("round", 1)
    for key, default in (("beta1", 0.9), ("beta2", 0.999), ("epsilon", 1e-8), ("epochs", STEPS)):
        fields.setdefault(key, default)
    c = ", ".join(f".{k} = {v}" for k, v in fields.items())
    return (f"{{{text(name)}, {text(spec_text)}, {n}, {flat.numel()}, {round_}, {{{c}}}, "
            f"(const double[]){numbers(flat)}}},\n")


def main():
    torch.set_num_threads(1)
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by tests/conformance/torch_goldens.py with torch "
          f"{torch.__version__.split('+')[0]}: do not edit. */")
    print("#ifndef WEFT_TEST_NN_TORCH_GOLDENS_H\n#define WEFT_TEST_NN_TORCH_GOLDENS_H\n")
    print("#include <stddef.h>\n#include <stdint.h>\n#include \"model/plan.h\"\n")
    print("""static const struct layer_golden {
    const char *name, *spec;
    uint32_t n; /* examples */
    size_t n_params, n_outputs;
    double loss;
    const double *outputs;  /* [n_outputs], of all examples */
    const double *gradient; /* [n_params] */
} layer_goldens[] = {""")
    print("".join(layer(*case) for case in LAYERS) + "};\n")
    print("""static const struct run_golden {
    const char *name, *spec;
    uint32_t n; /* examples, all in one batch */
    size_t n_params;
    uint32_t round;
    weft_plan plan;
    const double *weights; /* [n_params], trained */
} run_goldens[] = {""")
    print("".join(trained(*case) for case in RUNS) + "};\n\n#endif")


main()
