"""A port of the sine's LSTM to C, `lstm.c`: what `rnncheck compare` is for.

The program is compiled with the machine's compiler, right or with one of its mistakes in it, and run on the inputs of
rnncheck/demo/inputs.npy.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnncheck.frameworks.sources import open_network

SOURCE = Path(__file__).with_name("lstm.c")
DEMO = Path(__file__).parent.parent / "rnncheck" / "demo"
MODEL = DEMO / "sine.keras"
INPUTS = DEMO / "inputs.npy"


def run_port(folder: Path, mistakes: Sequence[str] = ()) -> tuple[Path, Path]:
    """Compile and run the program; return the files with its outputs (N, K) and its states (N·T, M).

    Args:
        folder: where everything is written.
        mistakes: macros of `lstm.c`, each of which makes one.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("port: no C compiler was found; expected cc or gcc. Install one.")
    _, network = open_network(MODEL)
    lstm, dense = network.layer("lstm"), network.layer("next_value")
    x = np.load(INPUTS)
    n, t_steps, d = x.shape
    m, k = dense.weights["kernel"].shape
    sizes = {"N": n, "T": t_steps, "D": d, "M": m, "K": k}
    macros = [*(f"-D{name}={size}" for name, size in sizes.items()), *(f"-D{name}" for name in mistakes)]
    program = folder / "lstm"
    subprocess.run([compiler, "-O2", "-std=c99", *macros, SOURCE, "-o", program, "-lm"], check=True)
    arrays = [layer.weights[name] for layer, names in ((lstm, _LSTM), (dense, _DENSE)) for name in names]
    np.savetxt(folder / "weights.txt", np.concatenate([array.reshape(-1) for array in arrays]))
    np.savetxt(folder / "inputs.txt", x.reshape(-1))
    outputs, states = folder / "outputs.csv", folder / "states.csv"
    subprocess.run([program, folder / "weights.txt", folder / "inputs.txt", outputs, states], check=True)
    return outputs, states


def main() -> None:
    """Record what the program computes, and what it does where it takes the gates in ONNX's order."""
    with tempfile.TemporaryDirectory() as folder:
        for prefix, mistakes in {"": (), "wrong_": ("GATE_ORDER",)}.items():
            for path in run_port(Path(folder), mistakes):
                shutil.copy(path, DEMO / f"{prefix}{path.name}")


# In the order in which the program reads them.
_LSTM, _DENSE = ("kernel", "recurrent_kernel", "bias"), ("kernel", "bias")
