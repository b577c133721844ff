#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models cross to the reference packages and back: numpy and safetensors, in PyTorch's conventions.

Run by `./dev test --long` as: check_weights.py WEIGHTS_TOOL. The packages come from the system or
from a virtual environment beside the tool, which is made once from PyPI; without either the test
is skipped (exit status 77).
"""
import os
import subprocess
import sys
import tempfile

SPECS = {
    "cnn": "input 8x7x2\nconv2d filters=5 kernel=3x2 padding=same\nrelu\nmaxpool size=2\n"
           "conv2d filters=4 kernel=2\nrelu\nflatten\ndense units=6\nrelu\ndense units=3\n"
           "loss softmax_cross_entropy\n",
    "mlp": "input 9\ndense hidden units=7\nrelu\ndense out units=4 bias=0\nloss mse\n",
}
SKIP = 77


def packages(tool):
    """numpy and safetensors, or a re-run of this script inside a venv that has them."""
    try:
        import numpy  # noqa: F401
        import safetensors.numpy  # noqa: F401
        return
    except ImportError:
        pass
    venv = os.path.join(os.path.dirname(os.path.abspath(tool)), "venv")
    python = os.path.join(venv, "bin", "python")
    if os.environ.get("WEFT_IN_VENV"):
        print("skipped: numpy and safetensors cannot be imported")
        sys.exit(SKIP)
    try:
        if not os.path.exists(python):
            subprocess.run([sys.executable, "-m", "venv", venv], check=True, capture_output=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "numpy", "safetensors"], check=True,
                       capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as e:
        print(f"skipped: no venv with numpy and safetensors: {e}")
        sys.exit(SKIP)
    os.environ["WEFT_IN_VENV"] = "1"
    os.execv(python, [python, *sys.argv])


def conv(x, w, b, same):
    """NCHW convolution as PyTorch defines it; padding='same' pads the rest on the right."""
    import numpy as np
    o, _, kh, kw = w.shape
    if same:
        top, left = (kh - 1) // 2, (kw - 1) // 2
        x = np.pad(x, ((0, 0), (0, 0), (top, kh - 1 - top), (left, kw - 1 - left)))
    h, v = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    y = np.zeros((x.shape[0], o, h, v))
    for i in range(kh):
        for j in range(kw):
            y += np.einsum("nchw,oc->nohw", x[:, :, i:i + h, j:j + v], w[:, :, i, j])
    return y + b[None, :, None, None]


def pool(x):
    import numpy as np
    n, c, h, w = x.shape
    x = x[:, :, :h // 2 * 2, :w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
    return np.max(x, axis=(3, 5))


def forward(name, t, x):
    """The model as PyTorch would run it on its exported tensors."""
    import numpy as np
    relu = lambda v: np.maximum(v, 0)  # noqa: E731
    t = {k: v.astype(np.float64) for k, v in t.items()}
    if name == "mlp":
        return relu(x @ t["hidden.weight"].T + t["hidden.bias"]) @ t["out.weight"].T
    x = x.reshape(-1, 8, 7, 2).transpose(0, 3, 1, 2)
    x = pool(relu(conv(x, t["conv2d1.weight"], t["conv2d1.bias"], True)))
    x = relu(conv(x, t["conv2d2.weight"], t["conv2d2.bias"], False))
    x = x.reshape(x.shape[0], -1)
    x = relu(x @ t["dense1.weight"].T + t["dense1.bias"])
    return x @ t["dense2.weight"].T + t["dense2.bias"]


class Tool:
    def __init__(self, path, dir, name):
        self.path, self.dir = path, dir
        self.spec = self.at(f"{name}.spec")
        with open(self.spec, "w", encoding="ascii") as f:
            f.write(SPECS[name])

    def at(self, name):
        return os.path.join(self.dir, name)

    def run(self, *args):
        return subprocess.run([self.path, *args], capture_output=True, text=True, check=False)

    def ok(self, *args):
        done = self.run(*args)
        assert done.returncode == 0, f"{args}: {done.stderr}"

    def vector(self, file):
        import numpy as np
        self.ok("import", self.spec, file, self.at("back.f32"))
        return np.fromfile(self.at("back.f32"), "<f4")


def check(tool, name):
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file
    tool.ok("export", tool.spec, "7", tool.dir)
    ours = np.fromfile(tool.at("model.f32"), "<f4")
    tensors = load_file(tool.at("model.safetensors"))
    packed = dict(np.load(tool.at("model.npz")))
    with safe_open(tool.at("model.safetensors"), "np") as f:
        meta = f.metadata()
    assert meta["weft.job"] == "conformance" and meta["weft.round"] == "3", meta
    assert meta["weft.spec"].startswith("input "), meta
    assert sorted(tensors) == sorted(packed)
    assert sum(v.size for v in tensors.values()) == ours.size
    for key, value in tensors.items():
        assert value.dtype == np.float32 and np.array_equal(value, packed[key]), key
    # the packages' files come back to the same vector
    files = 0
    for dtype, exact in (("f4", True), ("f8", True), ("f2", False)):
        cast = {k: v.astype(dtype) for k, v in tensors.items()}
        save_file(cast, tool.at("theirs.safetensors"), metadata={"format": "np"})
        np.savez(tool.at("theirs.npz"), **cast)
        np.savez_compressed(tool.at("deflated.npz"), **cast)
        np.savez(tool.at("fortran.npz"), **{k: np.asfortranarray(v) for k, v in cast.items()})
        for file in ("theirs.safetensors", "theirs.npz", "deflated.npz", "fortran.npz"):
            got = tool.vector(tool.at(file))
            same = np.array_equal(got, ours) if exact else np.allclose(got, ours, 1e-3, 1e-3)
            assert same, (file, dtype)
            files += 1
    # and what does not fit is refused
    first = sorted(tensors)[-1]
    for bad in ({k: v for k, v in tensors.items() if k != first},
                {**tensors, "other": np.zeros(1, "f4")},
                {**tensors, first: tensors[first][..., :1].copy()},
                {**tensors, first: tensors[first].astype("i4")}):
        save_file(bad, tool.at("bad.safetensors"))
        np.savez(tool.at("bad.npz"), **bad)
        for file in ("bad.safetensors", "bad.npz"):
            done = tool.run("import", tool.spec, tool.at(file), tool.at("back.f32"))
            assert done.returncode == 1 and "tensor '" in done.stderr, (file, done.stderr)
            files += 1
    # the exported tensors compute in PyTorch's conventions what the engine computes in its own
    width = 8 * 7 * 2 if name == "cnn" else 9
    x = np.random.default_rng(1).normal(size=(6, width)).astype("<f4")
    x.tofile(tool.at("x.f32"))
    for file in ("model.safetensors", "model.npz"):
        tool.ok("forward", tool.at(file), "6", tool.at("x.f32"), tool.at("y.f32"))
        y = np.fromfile(tool.at("y.f32"), "<f4").reshape(6, -1)
        want = forward(name, tensors, x.astype(np.float64))
        assert np.allclose(y, want, 1e-5, 1e-5), abs(y - want).max()
    return files


def main():
    tool = sys.argv[1]
    packages(tool)
    files = 0
    for name in SPECS:
        with tempfile.TemporaryDirectory() as dir:
            files += check(Tool(tool, dir, name), name)
    print(f"{files} files of the reference packages read as they should be")


main()
