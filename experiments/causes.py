"""No cause is named that is not there: recordings that are right, right but rounded, or wrong in a way nobody knows.

    python -m experiments.causes [--recordings 1000] [--seed 0]

Small models of every cell, alone and stacked, run in float32. A third of the recordings are right; a third are right
and printed with few digits, or stored as float16 or on a grid; a third are wrong in ways that the catalogue does not
have. With states and without, no fault, weight or foreign format may be named. A line is printed for each that is;
the command fails if there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

import rnncheck
from experiments.networks import GATES, dense, recurrent
from experiments.sweep import sweep
from rnncheck.checks.verdicts import Verdict
from rnncheck.faults.emulation import emulate
from rnncheck.network import Array, InputSpec, Network, Tensor
from rnncheck.report.report import Report

STACKS = (("SimpleRNN",), ("LSTM",), ("GRU",), ("LSTM", "LSTM"), ("GRU", "SimpleRNN"))

Stored = Callable[[Array], Array]


def network_of(kinds: tuple[str, ...], rng: np.random.Generator, T: int, D: int, M: int, K: int) -> Network:
    """Return recurrent layers of M units, then a Dense of K."""

    def drawn(*shape: int) -> Array:
        array: Array = (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
        return array

    layers, source, features = [], "x", D
    for number, kind in enumerate(kinds):
        columns = GATES[kind] * M
        bias = drawn(2, columns) if kind == "GRU" else drawn(columns)
        weights = {"kernel": drawn(features, columns), "recurrent_kernel": drawn(M, columns), "bias": bias}
        sequences = number < len(kinds) - 1
        layers.append(recurrent(f"rnn_{number}", kind, source, weights, return_sequences=sequences))
        source, features = f"rnn_{number}", M
    layers.append(dense("head", source, {"kernel": drawn(M, K), "bias": drawn(K)}))
    return Network("model", (InputSpec("x", (T, D), "float32"),), tuple(layers), (Tensor("head"),))


def _printed(form: str) -> Stored:
    return lambda array: np.array([float(form % number) for number in array.flat]).reshape(array.shape)


STORED: Mapping[str, Stored] = {
    **{form: _printed(form) for form in ("%g", "%f", "%.4g", "%.5f", "%.7e", "%.8g")},
    "float16": lambda array: array.astype(np.float16).astype(np.float32),
    "1/1024": lambda array: np.round(array * 1024.0) / 1024.0,
}

# (what was right (N, T, M) or (N, K), a generator) -> what is recorded instead
Wrong = Callable[[Array, np.random.Generator], Array]


def _drifting(array: Array, rng: np.random.Generator) -> Array:
    steps = np.arange(array.shape[1]).reshape(-1, *(1 for _ in array.shape[2:]))
    new: Array = array * (1.0 + 10.0 ** rng.uniform(-4, -2) * steps)
    return new


def _bent(array: Array, rng: np.random.Generator) -> Array:
    new: Array = array + 10.0 ** rng.uniform(-4, -1) * array**3
    return new


def _noisy(array: Array, rng: np.random.Generator) -> Array:
    new: Array = array + 10.0 ** rng.uniform(-5, -1) * rng.normal(size=array.shape)
    return new


def _one_unit_off(array: Array, rng: np.random.Generator) -> Array:
    new = array.copy()
    new[..., rng.integers(array.shape[-1])] *= 1.0 + 10.0 ** rng.uniform(-4, -1)
    return new


def _folded(array: Array, rng: np.random.Generator) -> Array:
    # Around the mean: of numbers of one sign, those around zero would only be negated, which is in the catalogue.
    new: Array = np.abs(array - array.mean()) * rng.choice([1.0, -1.0])
    return new


def _one_number_off(array: Array, rng: np.random.Generator) -> Array:
    new = array.copy()
    new[tuple(rng.integers(size) for size in array.shape)] += 10.0 ** rng.uniform(-4, 0)
    return new


WRONG: tuple[Wrong, ...] = (_drifting, _bent, _noisy, _one_unit_off, _folded, _one_number_off)


def untrue(report: Report) -> str:
    """Return what a report names that is not there; empty for nothing."""
    (entry,) = report.entries
    diagnosis, precision = entry.diagnosis, entry.precision
    if diagnosis and (diagnosis.explanations or diagnosis.by_layer):
        return str((*diagnosis.explanations, *diagnosis.by_layer)[0])
    if diagnosis and diagnosis.weights:
        return str(diagnosis.weights[0])
    if precision and precision.consistent_with not in {None, "float32"}:
        return str(precision)
    return ""


def examine(seed: int, counts: Counter[str]) -> list[str]:
    """Look at one recording with states and without; return what is named wrongly."""
    rng = np.random.default_rng(seed)
    kinds = STACKS[rng.integers(len(STACKS))]
    t, d, m, k = (int(rng.integers(low, high)) for low, high in ((3, 20), (2, 6), (3, 12), (2, 6)))
    network = network_of(kinds, rng, t, d, m, k)
    x = rng.normal(size=(int(rng.integers(2, 8)), t, d)).astype(np.float32)
    (recording,) = emulate(network, [(x,)])
    outputs, states = recording.outputs[0], dict(recording.states)
    what, expected = ("right", "stored", "wrong")[seed % 3], Verdict.MATCH
    how = what
    if what == "stored":
        how = str(rng.choice(list(STORED)))
        outputs, states = STORED[how](outputs), {name: STORED[how](h) for name, h in states.items()}
    elif what == "wrong":
        wrong = WRONG[rng.integers(len(WRONG))]
        how, expected = wrong.__name__, Verdict.MISMATCH
        outputs = wrong(outputs, rng).astype(np.float32)
        states = {name: wrong(h, rng).astype(np.float32) for name, h in states.items()}
    failed = []
    for given in (states, None):
        report = rnncheck.compare(network, x, outputs, states=given)
        counts[f"{what}: {report.verdict}"] += 1
        named = untrue(report)
        if named or (what != "wrong" and report.verdict is not expected):
            failed.append(f"seed {seed}, {how}, {'with' if given else 'without'} states: {report.verdict}, {named}")
    return failed


if __name__ == "__main__":
    sweep("causes", __doc__.splitlines()[0], "recordings", 1000, examine)
