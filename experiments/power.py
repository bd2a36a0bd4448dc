"""Wrong code fails: which faults the step check sees, where, and which of them the usual rules let pass.

    python -m experiments.power

A float32 implementation of Input -> SimpleRNN -> Dense is made wrong in one way at a time, and its recorded states
and outputs are compared with the equations. `moved` is the largest change that the fault makes in one step, from the
same previous state, in units of that number's noise, computed in float64: what there is to see. Where it is above 10,
the step check must catch it, at the right step and unit where the fault has one; the command fails otherwise.
A column of a usual rule says how many times what the rule allows the final output is off by: up to 1 it passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import rnncheck
from experiments import records
from experiments.networks import dense, recurrent
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import step_rows
from rnncheck.checks.verdicts import FAILED
from rnncheck.equations.arithmetic import Analysis
from rnncheck.equations.cells import CELLS
from rnncheck.equations.formats import kept
from rnncheck.network import Array, InputSpec, Network, Recording, Tensor

SIZES = (5, 64, 256)
N, T, D, K = 4, 30, 3, 2

# A number that a fault moves by this many times its noise must be caught.
VISIBLE = 10.0

# What people compare final outputs with: name -> (rtol, atol), where atol + rtol·|expected| is allowed.
USUAL_RULES = {
    "numpy.allclose": (1e-5, 1e-8),
    "torch float32": (1.3e-6, 1e-5),
    "ONNX": (1e-3, 1e-7),
}


Weights = dict[str, Array]


def _unchanged(array: Array) -> Array:
    return array


@dataclass(frozen=True)
class Implementation:
    """A SimpleRNN as somebody may have written it, right unless a field says otherwise."""

    weights: Callable[[Weights], Weights] = lambda w: w
    operand: Callable[[Array], Array] = _unchanged  # what goes into each product, which may be a coarser one
    tanh: Callable[[Array], Array] = np.tanh
    states: Callable[[Array], Array] = _unchanged  # changes what was recorded, (N, T, M), after the run
    inputs: Callable[[Array], Array] = _unchanged  # (N, T, D)
    carried: Callable[[Array], Array] = _unchanged  # the state that a step starts from
    skipped: int = 0  # so many steps at the start leave the state as it is

    def step(self, x: Array, h: Array, weights: Mapping[str, Array]) -> Array:
        """Return h_t for x (R, D) and h_{t-1} (R, M), in the dtype that comes."""
        w = self.weights({name: weight.copy() for name, weight in weights.items()})
        cut = self.operand
        z = cut(x) @ cut(w["kernel"]) + w["bias"] + cut(self.carried(h)) @ cut(w["recurrent_kernel"])
        return self.tanh(z).astype(h.dtype)

    def run(self, network: Network, x: Array) -> tuple[Array, Array]:
        """Return states (N, T, M) and outputs (N, K) in float32."""
        rnn, dense = network.layers
        h = np.zeros((x.shape[0], rnn.options["units"]), np.float32)
        steps = []
        for t, x_t in enumerate(self.inputs(x).swapaxes(0, 1)):
            h = h if t < self.skipped else self.step(x_t, h, rnn.weights)
            steps.append(h)
        states = self.states(np.stack(steps, axis=1))
        return states, states[:, -1] @ dense.weights["kernel"] + dense.weights["bias"]


@dataclass(frozen=True)
class Fault:
    """An Implementation that is wrong, and where it should be seen first."""

    name: str
    implementation: Implementation
    first: Mapping[str, int] = field(default_factory=dict)


def _added(weight: str, place: tuple[int, ...], amount: float) -> Callable[[Weights], Weights]:
    def change(weights: Weights) -> Weights:
        weights[weight][place] += weights[weight].dtype.type(amount)
        return weights

    return change


def _replaced(weight: str, change: Callable[[Array], Array]) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, weight: change(weights[weight])}


def _through_float16(weights: Weights) -> Weights:
    return {name: weight.astype(np.float16).astype(weight.dtype) for name, weight in weights.items()}


def _last_everywhere(states: Array) -> Array:
    return np.repeat(states[:, -1:], states.shape[1], axis=1)


def _first_sample_everywhere(states: Array) -> Array:
    return np.repeat(states[:1], states.shape[0], axis=0)


def _digits_kept(digits: int) -> Callable[[Array], Array]:
    # To nearest at so many significant binary digits: 11 for TF32, 8 for bfloat16.
    return lambda a: kept(a, digits).astype(a.dtype)


def _polynomial_tanh() -> Callable[[Array], Array]:
    # An error of about 4e-6: a Chebyshev series on [-6.5, 6.5], flat outside.
    series = np.polynomial.Chebyshev.interpolate(np.tanh, 57, domain=[-6.5, 6.5])
    return lambda z: series(np.clip(z, -6.5, 6.5))


FAULTS = (
    Fault("correct", Implementation()),
    Fault("one bias +1e-6", Implementation(weights=_added("bias", (2,), 1e-6)), {"t": 0, "unit": 2}),
    Fault(
        "one recurrent weight +1e-5",
        Implementation(weights=_added("recurrent_kernel", (0, 3), 1e-5)),
        {"t": 1, "unit": 3},
    ),
    Fault("tanh approximated to 4e-6", Implementation(tanh=_polynomial_tanh())),
    Fault("TF32 products", Implementation(operand=_digits_kept(11)), {"t": 0}),
    Fault("bfloat16 products", Implementation(operand=_digits_kept(8)), {"t": 0}),
    Fault("float16 weights", Implementation(weights=_through_float16), {"t": 0}),
    Fault(
        "recurrent kernel transposed", Implementation(weights=_replaced("recurrent_kernel", np.transpose)), {"t": 1}
    ),
    Fault("bias dropped", Implementation(weights=_replaced("bias", np.zeros_like)), {"t": 0}),
    Fault("state not carried", Implementation(carried=np.zeros_like), {"t": 1}),
    Fault("time reversed", Implementation(inputs=lambda x: x[:, ::-1]), {"t": 0}),
    Fault("first step skipped", Implementation(skipped=1), {"t": 0}),
    Fault("last step instead of all", Implementation(states=_last_everywhere), {"t": 0}),
    Fault("sample 0 repeated", Implementation(states=_first_sample_everywhere), {"n": 1, "t": 0}),
)


def make_network(
    units: int, *, seed: int = 0, features: int = D, steps: int | None = T, scale: float = 0.9
) -> tuple[Network, Array]:
    """Return Input -> SimpleRNN -> Dense with random weights, and inputs (N, T, D).

    The input layer declares `steps`, None for any number of them. `scale` is the largest singular value of the
    recurrent kernel: where it is above 1, errors grow from step to step.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    recurrent_kernel = (scale * np.linalg.qr(rng.normal(size=(units, units)))[0]).astype(np.float32)
    weights: dict[str, Array] = {
        "kernel": normal(features, units) / 2,
        "recurrent_kernel": recurrent_kernel,
        "bias": normal(units) / 4,
    }
    rnn = recurrent("simple_rnn", "SimpleRNN", "inputs", weights)
    head = dense("dense", "simple_rnn", {"kernel": normal(units, K) / np.float32(units**0.5), "bias": normal(K) / 4})
    network = Network("power", (InputSpec("inputs", (steps, features), "float32"),), (rnn, head), (Tensor("dense"),))
    return network, normal(N, steps or T, features)


def moved(network: Network, fault: Fault, x: Array, states: Array) -> float:
    """Return the largest change that the fault makes in one step, in units of that number's noise."""
    rnn = network.layers[0]
    weights = {name: weight.astype(np.float64) for name, weight in rnn.weights.items()}
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1).astype(np.float64)
    right = Implementation().step(x.astype(np.float64), before, weights)
    faulty = fault.implementation
    if faulty.states is not _unchanged or faulty.skipped:
        wrong = states.astype(np.float64)  # what was recorded is itself the change
    else:
        wrong = faulty.step(faulty.inputs(x).astype(np.float64), before, weights)
    noise = _noise_of_one_step(network, x, before).reshape(right.shape)
    return float(np.max(np.abs(wrong - right) / noise))


def _noise_of_one_step(network: Network, x: Array, before: Array) -> Array:
    # (N·T, M), each step from the previous state that was recorded.
    rnn = network.layers[0]
    weights = Analysis().weights(rnn)
    cell = CELLS[rnn.kind]
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    states = (before.reshape(-1, before.shape[-1]),)
    noise: Array = cell.step(cell.project(rows, weights, rnn.options), states, weights, rnn.options)[0].noise
    return noise


def times_allowed(actual: Array, expected: Array, rule: str) -> float:
    """Return the largest |actual - expected| in units of what a rule allows there: up to 1 it passes."""
    rtol, atol = USUAL_RULES[rule]
    return float(np.max(np.abs(actual - expected) / (atol + rtol * np.abs(expected))))


def examine(fault: Fault, units: int) -> dict[str, Any]:
    """Run one fault and say what each check makes of it."""
    network, x = make_network(units)
    states, outputs = fault.implementation.run(network, x)
    recording = Recording((x,), (outputs,), {"simple_rnn": states})
    (row, *_) = step_rows(network, observe(network, (recording,)))
    (expected,) = rnncheck.replay(network, (x,)).outputs
    first = dict(row.first or {})
    return {
        "fault": fault.name,
        "M": units,
        "moved": moved(network, fault, x, states),
        "score": row.score_max,
        "score_rms": row.score_rms,
        "verdict": str(row.verdict),
        "proven": row.proven,
        "first": first,
        "right_place": all(first.get(axis) == index for axis, index in fault.first.items()),
        "output_difference": float(np.max(np.abs(outputs - expected))),
        **{rule: times_allowed(outputs, expected, rule) for rule in USUAL_RULES},
    }


def is_wrong(result: Mapping[str, Any]) -> bool:
    """Whether the step check failed its duty: an alarm on correct code, a visible fault missed or misplaced."""
    caught = result["verdict"] in FAILED
    if result["fault"] == "correct":
        return caught
    return result["moved"] > VISIBLE and not (caught and result["right_place"])


def examine_chaos(fault: Fault) -> dict[str, Any]:
    """Run one fault with the recurrent kernel scaled by 3 over 300 steps: only single steps can be judged."""
    network, x = make_network(64, steps=300, scale=3.0)
    states, outputs = fault.implementation.run(network, x)
    report = rnncheck.compare(network, x, outputs, states={"simple_rnn": states})
    step, *_, end = report.rows
    return {
        "fault": fault.name,
        "verdict": str(report.verdict),
        "first": dict(step.first or {}),
        "end_to_end_difference": end.max_abs_diff,
        "end_to_end": str(end.verdict),
    }


def main() -> None:
    """Print the table, write the result, and fail if some fault was missed."""
    results = [examine(fault, units) for units in SIZES for fault in FAULTS]
    table = Table(box=None, pad_edge=False)
    for column in ("fault", "M", "moved", "score", "step check", "first at", "output differs", *USUAL_RULES):
        table.add_column(column, justify="left" if column in {"fault", "step check", "first at"} else "right")
    for result in results:
        place = " ".join(f"{axis}={index}" for axis, index in result["first"].items())
        numbers = (f"{result[name]:.3g}" for name in ("moved", "score"))
        table.add_row(
            result["fault"],
            str(result["M"]),
            *numbers,
            result["verdict"],
            place,
            f"{result['output_difference']:.1e}",
            *(f"{result[rule]:.2g}" for rule in USUAL_RULES),
        )
    Console(width=150).print(table)
    print("\nChaotic: recurrent kernel scaled by 3, M=64, T=300")
    for fault in (FAULTS[0], FAULTS[2]):
        chaos = examine_chaos(fault)
        place = " ".join(f"{axis}={index}" for axis, index in chaos["first"].items())
        end = f"end to end {chaos['end_to_end']}, difference {chaos['end_to_end_difference']:.2f}"
        print(f"{chaos['fault']}: {chaos['verdict']}{f' at {place}' if place else ''}; {end}")
    records.write("power", results)
    wrong = [result for result in results if is_wrong(result)]
    for result in wrong:
        print(f"not as it should be: {result['fault']}, M={result['M']}: {result}", file=sys.stderr)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
