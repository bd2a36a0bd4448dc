"""Speed, as ratios measured in one run: interleaved repetitions, each after one of its own to warm up, medians.

    python -m experiments.bench [--repetitions 7]

- replay / loop: the float64 replay against the notebook's loop over samples and steps; at most 1/5 for N=32.
- replay / products: against the bare float64 matrix products that it cannot avoid; no target, since how dear tanh is
  beside them depends on the processor.
- check / predict: the whole step check against Keras' own warm `predict`; at most 1.0, but 1.6 for LSTM and GRU of
  the most numbers, (128, 200, 64, 128).
- check / products: against the bare products of the check itself, one in float64 and one in float32; no target.
- check / XLA, check / ONNX: against the same model compiled by XLA, and ONNX's NumPy reference evaluator; no target.

Of LSTM and GRU only the check is measured.

The command fails when a target is missed.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import records
from rnncheck.cases.case import Case
from rnncheck.checks.blocks import in_threads, rows_of
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import step_rows
from rnncheck.checks.verdicts import Verdict
from rnncheck.equations.replay import replay
from rnncheck.frameworks.keras.build import build
from rnncheck.frameworks.keras.extract import extract
from rnncheck.frameworks.keras.run import record
from rnncheck.frameworks.keras.session import quiet_framework, quiet_stderr
from rnncheck.network import Array, Network
from rnncheck.rounding.products import product

# Seconds between runs: the threads of BLAS spin for a tenth of a second after their work, and would slow down whoever
# is next.
PAUSE = 0.2
SHAPES = ((1, 10, 3, 5), (32, 100, 32, 64), (32, 100, 128, 256), (128, 200, 64, 128), (1, 1000, 128, 512))


@dataclass(frozen=True)
class Target:
    """What a ratio must not exceed, by layer and N, and at which N."""

    limit: Callable[[str, int], float]
    applies: Callable[[int], bool] = lambda n: True


LAYERS = ("simple_rnn", "lstm", "gru")

# ratio -> (what is timed, against what, target)
RATIOS: dict[str, tuple[str, str, Target | None]] = {
    "replay / loop": ("replay", "loop", Target(lambda layer, n: 1 / 5, lambda n: n == 32)),
    "replay / products": ("replay", "products", None),
    "check / predict": (
        "check",
        "predict",
        Target(lambda layer, n: 1.6 if n == 128 and layer in {"lstm", "gru"} else 1.0),
    ),
    "check / products": ("check", "check's products", None),
    "check / XLA": ("check", "xla", None),
    "check / ONNX": ("check", "onnx", None),
}


def notebook_loop(network: Network, x: Array) -> Array:
    """The notebook's replay, sample by sample and step by step."""
    rnn, dense = network.layers
    outputs = []
    for sample in x:
        h = np.zeros(rnn.options["units"])
        for x_t in sample:
            h = np.tanh(
                np.dot(x_t, rnn.weights["kernel"]) + np.dot(h, rnn.weights["recurrent_kernel"]) + rnn.weights["bias"]
            )
        outputs.append(np.dot(h, dense.weights["kernel"]) + dense.weights["bias"])
    return np.array(outputs)


def bare_products(network: Network, x: Array) -> Callable[[], None]:
    """The float64 products of the replay, and nothing else."""
    weights = network.layers[0].weights
    kernel, recurrent_kernel = (weights[name].astype(np.float64) for name in ("kernel", "recurrent_kernel"))
    rows = x.astype(np.float64).reshape(-1, x.shape[2])
    state = np.full((x.shape[0], kernel.shape[1]), 0.5)
    ahead = max(1, 2**14 // kernel.shape[1])

    def run() -> None:
        for start in range(0, len(rows), ahead):
            rows[start : start + ahead] @ kernel
        for _ in range(x.shape[1]):
            state @ recurrent_kernel

    return run


def products_of_the_check(network: Network, x: Array, states: Array) -> Callable[[], Any]:
    """The products that the check of a recurrent layer cannot avoid: of values in float64, of squares in float32."""
    weights = network.layers[0].weights
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    factors: list[tuple[Any, Any]] = [
        (array.reshape(-1, array.shape[-1]).astype(dtype), weights[name].astype(dtype))
        for array, name in ((x, "kernel"), (before, "recurrent_kernel"))
        for dtype in (np.float64, np.float32)
    ]
    at_once = rows_of(weights["kernel"].shape[1])

    def run(start: int) -> None:
        for rows, kernel in factors:
            product(rows[start : start + at_once], kernel)

    return lambda: in_threads(run, range(0, len(factors[0][0]), at_once))


def onnx_reference(network: Network, x: Array) -> Callable[[], Any]:
    """The recurrent layer in ONNX's NumPy reference evaluator."""
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    weights = network.layers[0].weights
    units = weights["bias"].size
    constants = {
        "W": weights["kernel"].T[np.newaxis],
        "R": weights["recurrent_kernel"].T[np.newaxis],
        "B": np.concatenate([weights["bias"], np.zeros(units, np.float32)])[np.newaxis],
    }
    node = helper.make_node("RNN", ["X", "W", "R", "B"], ["Y", "Y_h"], hidden_size=units)
    graph = helper.make_graph(
        [node],
        "rnn",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, None, x.shape[2]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("Y", "Y_h")],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)]))
    sequence = np.ascontiguousarray(x.swapaxes(0, 1))
    return lambda: evaluator.run(None, {"X": sequence})


def contestants(case: Case) -> dict[str, Callable[[], Any]]:
    """Everything that is timed, ready to run."""
    import keras

    built = build(case)
    network = extract(built.model)
    recordings = record(built.model, network, built.calls)
    (x,) = built.calls[0]
    compiled = keras.models.clone_model(built.model)
    compiled.set_weights(built.model.get_weights())
    compiled.compile(jit_compile=True)

    def check() -> None:
        rows = step_rows(network, observe(network, recordings))
        if any(row.verdict is not Verdict.MATCH for row in rows):
            raise SystemExit(f"{case}: correct code did not match")

    runs: dict[str, Callable[[], Any]] = {
        "check": check,
        "predict": lambda: built.model.predict(x, verbose=0),
        "check's products": products_of_the_check(network, x, recordings[0].states[network.layers[0].name]),
    }
    if case.layer != "simple_rnn":
        return runs
    return {
        **runs,
        "replay": lambda: replay(network, (x,)),
        "loop": lambda: notebook_loop(network, x),
        "products": bare_products(network, x),
        "xla": lambda: compiled.predict(x, verbose=0),
        "onnx": onnx_reference(network, x),
    }


def measure(case: Case, repetitions: int) -> dict[str, float]:
    """Return the median seconds of each contestant, taken in turns."""
    with quiet_framework():
        runs = contestants(case)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run()
        for _ in range(repetitions):
            for name, run in runs.items():
                time.sleep(PAUSE)
                run()  # so that each is as warm as the others
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def ratio_cell(name: str, layer: str, n: int, median: dict[str, float]) -> str:
    """Return a ratio, and whether its target is met."""
    ours, theirs, target = RATIOS[name]
    if theirs not in median or ours not in median:
        return "-"
    ratio = median[ours] / median[theirs]
    if target is None or not target.applies(n):
        return f"{ratio:.3f}"
    return f"{ratio:.3f} {'met' if ratio <= target.limit(layer, n) else 'missed'}"


def main() -> None:
    """Measure every shape, print the ratios, fail when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    repetitions = parser.parse_args().repetitions
    with quiet_stderr():
        import keras  # noqa: F401 - so that its start-up messages are held back
    table = Table(box=None, pad_edge=False)
    table.add_column("layer, N, T, D, M")
    for name in (*RATIOS, "check ms", "predict ms"):
        table.add_column(name, justify="right")
    results = []
    for layer, (n, t_steps, d, m) in itertools.product(LAYERS, SHAPES):
        median = measure(Case(layer=layer, N=n, T=t_steps, D=d, M=m, K=2), repetitions)
        cells = [ratio_cell(name, layer, n, median) for name in RATIOS]
        times = (f"{1e3 * median[name]:.2f}" for name in ("check", "predict"))
        row = (f"{layer} {n}, {t_steps}, {d}, {m}", *cells, *times)
        table.add_row(*row)
        results.append(dict(zip((str(column.header) for column in table.columns), row, strict=True)))
    Console(width=150).print(table)
    records.write("bench", results)
    missed = [line for line in results if any("missed" in cell for cell in line.values())]
    for line in missed:
        print("missed:", *(f"{name} {cell};" for name, cell in line.items() if "missed" in cell or "layer" in name))
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    main()
