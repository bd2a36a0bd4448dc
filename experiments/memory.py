"""Memory and time of checking very long sequences.

    python -m experiments.memory

Checks T = 1,000,000 steps (N=1, D=8, M=64) of recorded states, and half and a quarter as many, each in a process of
its own. It prints the peak memory beyond the arrays that the check is given, and the time per step. The command fails
above 100 MB, or where the time per step grows by more than half from the shortest run to the longest.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from experiments import records
from experiments.power import make_network
from rnncheck.api import compare

LIMIT_MB = 100.0  # as much as blocks and the weights take, whatever T
LENGTHS = (250_000, 500_000, 1_000_000)
UNITS, FEATURES = 64, 8


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def check_once(steps: int) -> dict[str, Any]:
    """Make a float32 run of so many steps, check it, and say what the check took."""
    network, _ = make_network(UNITS, features=FEATURES, steps=None)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, steps, FEATURES)).astype(np.float32)
    rnn, dense = network.layers
    states = np.empty((1, steps, UNITS), np.float32)
    h = np.zeros((1, UNITS), np.float32)
    for t in range(steps):
        h = np.tanh(x[:, t] @ rnn.weights["kernel"] + rnn.weights["bias"] + h @ rnn.weights["recurrent_kernel"])
        states[:, t] = h
    outputs = h @ dense.weights["kernel"] + dense.weights["bias"]
    compare(network, x[:, :10], outputs, states={"simple_rnn": states[:, :10]})  # loads what it needs
    before, start = peak_mb(), time.perf_counter()
    report = compare(network, x, outputs, states={"simple_rnn": states})
    seconds = time.perf_counter() - start
    return {"steps": steps, "seconds": seconds, "extra_mb": peak_mb() - before, "verdict": str(report.verdict)}


def main() -> None:
    """Run each length in a process of its own and print what it took."""
    if len(sys.argv) > 1:
        print(json.dumps(check_once(int(sys.argv[1]))))
        return
    results = []
    for steps in LENGTHS:
        command = [sys.executable, "-m", "experiments.memory", str(steps)]
        results.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        r = results[-1]
        print(
            f"T={r['steps']:>9,}: {r['verdict']}, {r['extra_mb']:.0f} MB beyond the arrays given, "
            f"{1e6 * r['seconds'] / r['steps']:.2f} us a step, {r['seconds']:.1f} s",
            flush=True,
        )
    records.write("memory", results)
    per_step = [result["seconds"] / result["steps"] for result in results]
    too_much = max(result["extra_mb"] for result in results) > LIMIT_MB
    print(f"time per step, longest against shortest: {per_step[-1] / per_step[0]:.2f}")
    raise SystemExit(too_much or per_step[-1] > 1.5 * per_step[0])


if __name__ == "__main__":
    main()
