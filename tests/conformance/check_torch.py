#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models cross to PyTorch and back as safetensors, and compute the same logits to 1e-5.

Run by `./dev test --long` as: check_torch.py WEIGHTS_TOOL. Needs torch and safetensors, of the
interpreter of WEFT_TORCH_PYTHON or of the one that runs this; without them the test is skipped
(exit status 77): PyTorch is too large to be installed by a test.
"""
import os
import subprocess
import sys
import tempfile

SKIP = 77

SPECS = {
    "mlp": "input 9\ndense hidden units=7\nrelu\ndense out units=4 bias=0\nloss mse\n",
    "cnn": "input 12x11x2\nconv2d filters=5 kernel=3x5 padding=same\nrelu\nmaxpool size=2\n"
           "conv2d filters=4 kernel=2 stride=2\nrelu\nflatten\ndense units=6\nrelu\ndense units=3\n"
           "loss softmax_cross_entropy\n",
    "norms": "input 8x8x4\nconv2d filters=6 kernel=3 padding=1 groups=2 bias=0\n"
             "groupnorm groups=3\ngelu\nconv2d filters=6 kernel=3 groups=6\nbatchnorm\nsilu\n"
             "flatten\nlayernorm\ndense units=5\ntanh\nlayernorm\ndense units=3\n"
             "loss softmax_cross_entropy\n",
    "lstm": "input tokens=9 vocab=11\nembedding dims=5\nlstm units=7\nlstm units=6\ndense units=11\n"
            "loss softmax_cross_entropy\n",
    "gru": "input 6x4\ngru units=5\nlast\ndense units=2\nloss softmax_cross_entropy\n",
}


def modules():
    """One module a spec, by the names of its layers; as a user would write it."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = nn.Linear(9, 7), nn.Linear(7, 4, bias=False)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))

    class Cnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv2d1 = nn.Conv2d(2, 5, (3, 5), padding="same")
            self.conv2d2 = nn.Conv2d(5, 4, 2, stride=2)
            self.dense1, self.dense2 = nn.Linear(24, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv2d1(x)), 2)
            x = F.relu(self.conv2d2(x)).flatten(1)
            return self.dense2(F.relu(self.dense1(x)))

    class Norms(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv2d1 = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False)
            self.groupnorm1 = nn.GroupNorm(3, 6)
            self.conv2d2 = nn.Conv2d(6, 6, 3, groups=6)
            self.batchnorm1 = nn.BatchNorm2d(6)
            self.layernorm1 = nn.LayerNorm(216)
            self.dense1, self.layernorm2 = nn.Linear(216, 5), nn.LayerNorm(5)
            self.dense2 = nn.Linear(5, 3)

        def forward(self, x):
            x = F.gelu(self.groupnorm1(self.conv2d1(x)))
            x = F.silu(self.batchnorm1(self.conv2d2(x))).flatten(1)
            return self.dense2(self.layernorm2(torch.tanh(self.dense1(self.layernorm1(x)))))

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding1 = nn.Embedding(11, 5)
            self.lstm1 = nn.LSTM(5, 7, batch_first=True)
            self.lstm2 = nn.LSTM(7, 6, batch_first=True)
            self.dense1 = nn.Linear(6, 11)

        def forward(self, x):
            return self.dense1(self.lstm2(self.lstm1(self.embedding1(x.long()))[0])[0])

    class Gru(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru1, self.dense1 = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            return self.dense1(self.gru1(x)[0][:, -1])

    return {"mlp": Mlp, "cnn": Cnn, "norms": Norms, "lstm": Lstm, "gru": Gru}


def inputs(name, n):
    """What weft reads ([n] rows; images by rows, columns, channels), and PyTorch's view of it."""
    import torch
    g = torch.Generator().manual_seed(5)
    words = SPECS[name].split("\n", 1)[0].split()
    if words[1].startswith("tokens="):
        x = torch.randint(0, int(words[2][6:]), (n, int(words[1][7:])), generator=g).float()
        return x, x
    x = torch.randn(n, *[int(d) for d in words[1].split("x")], generator=g)
    return x, x.permute(0, 3, 1, 2) if x.dim() == 4 else x


def check(tool, dir, name, module):
    import numpy as np
    import torch
    from safetensors.torch import load_file, save_file
    at = lambda file: os.path.join(dir, file)  # noqa: E731
    with open(at("spec"), "w", encoding="ascii") as f:
        f.write(SPECS[name])
    ours, theirs = inputs(name, 6)
    ours.contiguous().numpy().tofile(at("x"))

    def forward(file):
        subprocess.run([tool, "forward", file, "6", at("x"), at("y")], check=True)
        return torch.from_numpy(np.fromfile(at("y"), "<f4"))

    def compare(model, file):
        with torch.no_grad():
            want = model.eval()(theirs).flatten()
        got = forward(file)
        worst = (got - want).abs().max() / want.abs().max()
        assert got.shape == want.shape and worst < 1e-5, (name, file, worst)

    # ours there
    subprocess.run([tool, "export", at("spec"), "7", dir], check=True)
    tensors = load_file(at("model.safetensors"))
    model = module()
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and all(k.endswith("num_batches_tracked") for k in missing), (
        name, missing, unexpected)
    compare(model, at("model.safetensors"))
    # theirs here, with statistics that are not the initial ones
    torch.manual_seed(3)
    model = module()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.running_mean, -1, 1)
            torch.nn.init.uniform_(m.running_var, 0.5, 2)
    save_file(model.state_dict(), at("torch.safetensors"), metadata={"weft.spec": SPECS[name]})
    compare(model, at("torch.safetensors"))


def main():
    tool = sys.argv[1]
    try:
        import safetensors.torch  # noqa: F401
        import torch
    except ImportError:
        python = os.environ.pop("WEFT_TORCH_PYTHON", None)
        if python:
            os.execv(python, [python, *sys.argv])
        print("skipped: torch and safetensors cannot be imported, WEFT_TORCH_PYTHON is not set")
        sys.exit(SKIP)
    torch.set_num_threads(1)
    for name, module in modules().items():
        with tempfile.TemporaryDirectory() as dir:
            check(tool, dir, name, module)
    print(f"{len(SPECS)} models compute the same logits as in PyTorch {torch.__version__}, both ways")


main()
