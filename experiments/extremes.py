"""Correct code at the edges passes, and the same runs with one number off by ten times its noise do not.

    python -m experiments.extremes [--runs 2000] [--seed 0]

Loops in plain NumPy, torch and JAX run networks that are hard on rounding-error analysis: identity and orthogonal
recurrent kernels, states that grow or overflow, up to 20,000 steps and 2,048 units, biases added first or last, six
orders of summation, every format. Run k has seed SEED + k. Each is compared with its states and without: no correct
run may be a mismatch or an error. Then one number is moved, and no run may match. A line is printed for each failure;
the command fails if there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import ml_dtypes
import numpy as np

from experiments.networks import GATES, dense, recurrent
from experiments.sweep import sweep
from rnncheck.checks.check import check
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import differences
from rnncheck.checks.verdicts import FAILED, Verdict, worst
from rnncheck.equations.arithmetic import FREE_RUNNING, Analysis
from rnncheck.equations.replay import replay
from rnncheck.network import Array, InputSpec, Network, Recording, Tensor
from rnncheck.rounding.products import OrderedMatrix

# A number that is off by so many times its noise must be seen.
VISIBLE = 10.0

DTYPES: Mapping[str, Any] = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16
}  # fmt: skip

Dot = Callable[[Array, Array], Array]  # (R, n), (n, M) -> (R, M), in their format


# --- six orders of summation ---


def _library(a: Array, w: Array) -> Array:
    return a @ w


def _terms(a: Array, w: Array) -> list[Array]:
    return [a[:, k, np.newaxis] * w[k] for k in range(len(w))]


def _forward(a: Array, w: Array) -> Array:
    return reduce(np.add, _terms(a, w))


def _backward(a: Array, w: Array) -> Array:
    return reduce(np.add, _terms(a, w)[::-1])


def _in_pairs(a: Array, w: Array) -> Array:
    terms = _terms(a, w)
    while len(terms) > 1:
        last = terms[-1:] if len(terms) % 2 else []
        terms = [*map(np.add, terms[:-1:2], terms[1::2]), *last]
    return terms[0]


def _in_lanes(a: Array, w: Array) -> Array:
    terms = _terms(a, w)
    return reduce(np.add, [reduce(np.add, terms[lane::4]) for lane in range(min(4, len(terms)))])


def _exact(a: Array, w: Array) -> Array:
    return (a.astype(np.float64) @ w.astype(np.float64)).astype(a.dtype)


ORDERS: tuple[Dot, ...] = (_library, _forward, _backward, _in_pairs, _in_lanes, _exact)


# --- the runs ---


@dataclass(frozen=True)
class Extreme:
    """A network and how it is computed."""

    kind: str
    kernel: str  # what the recurrent kernel is like
    activation: str
    dtype: str
    order: Dot
    bias_last: bool
    N: int
    T: int
    D: int
    M: int
    seed: int

    def __str__(self) -> str:
        how = f"{self.order.__name__[1:]}, bias {'last' if self.bias_last else 'first'}"
        sizes = f"N{self.N} T{self.T} D{self.D} M{self.M}"
        return f"seed {self.seed}: {self.kind} {self.kernel} {self.activation} {self.dtype} {sizes}, {how}"


_KERNELS: Mapping[str, Callable[[np.random.Generator, int], Array]] = {
    "identity": lambda rng, m: np.eye(m),
    "leaky": lambda rng, m: 0.999 * np.eye(m),
    "orthogonal": lambda rng, m: np.linalg.qr(rng.normal(size=(m, m)))[0],
    "growing by 1.2": lambda rng, m: 1.2 * np.linalg.qr(rng.normal(size=(m, m)))[0],
    "growing by 1.5": lambda rng, m: 1.5 * np.linalg.qr(rng.normal(size=(m, m)))[0],
    "overflowing": lambda rng, m: 10.0 * np.linalg.qr(rng.normal(size=(m, m)))[0],
    "random": lambda rng, m: rng.normal(size=(m, m)) / np.sqrt(m),
    "chaotic": lambda rng, m: 3.0 * rng.normal(size=(m, m)) / np.sqrt(m),
}


def drawn(seed: int) -> Extreme:
    """Draw a run."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["SimpleRNN", "SimpleRNN", "LSTM", "GRU"]))
    m = int(rng.choice([1, 2, 8, 8, 32, 64, 256, 2048], p=[0.1, 0.1, 0.25, 0.25, 0.15, 0.1, 0.04, 0.01]))
    budget = 400_000 // (m * m * GATES[kind] // 16 + 64)
    steps = int(min(rng.choice([1, 2, 10, 100, 1000, 20_000], p=[0.05, 0.1, 0.3, 0.3, 0.23, 0.02]), max(2, budget)))
    order = ORDERS[rng.integers(len(ORDERS))] if m <= 64 and steps <= 1000 else ORDERS[int(rng.choice([0, 5]))]
    dtype = str(rng.choice(list(DTYPES), p=[0.15, 0.6, 0.15, 0.1]))
    activation = str(rng.choice(["linear", "relu", "tanh"])) if kind == "SimpleRNN" else "tanh"
    return Extreme(
        kind, str(rng.choice(list(_KERNELS))), activation, dtype, order, bool(rng.integers(2)),
        int(rng.integers(1, 4)), steps, int(rng.choice([1, 3, 16])), m, seed,
    )  # fmt: skip


def network_of(extreme: Extreme) -> Network:
    """Return the network: the recurrent layer, then a Dense of two units."""
    rng = np.random.default_rng(extreme.seed + 10**6)
    m, gates = extreme.M, GATES[extreme.kind]
    square = np.concatenate([_KERNELS[extreme.kernel](rng, m) for _ in range(gates)], axis=1)
    bias = 0.1 * rng.normal(size=(2, gates * m) if extreme.kind == "GRU" else gates * m)
    weights = {"kernel": rng.normal(size=(extreme.D, gates * m)) / np.sqrt(extreme.D), "recurrent_kernel": square}
    head = {"kernel": rng.normal(size=(m, 2)) / np.sqrt(m), "bias": 0.1 * rng.normal(size=2)}
    in_format = DTYPES[extreme.dtype]
    narrow = np.float64 if extreme.dtype == "float64" else np.float32

    def stored(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: array.astype(in_format).astype(narrow) for name, array in arrays.items()}

    layers = (
        recurrent(
            "rnn",
            extreme.kind,
            "x",
            stored({**weights, "bias": bias}),
            extreme.dtype,
            activation=extreme.activation,
        ),
        dense("head", "rnn", stored(head), extreme.dtype),
    )
    inputs = (InputSpec("x", (extreme.T, extreme.D), extreme.dtype),)
    return Network(str(extreme), inputs, layers, (Tensor("head"),))


def _functions(extreme: Extreme) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    one = DTYPES[extreme.dtype](1.0)
    own: Mapping[str, Callable[[Array], Array]] = {
        "linear": lambda z: z,
        "relu": lambda z: np.maximum(z, z.dtype.type(0.0)),
        "tanh": np.tanh,
    }
    return own[extreme.activation], lambda z: one / (one + np.exp(-z))


@np.errstate(all="ignore")
def run(extreme: Extreme, network: Network, x: Array) -> tuple[Array, Array]:
    """Return the states (N, T, M) and the outputs (N, 2) of an honest implementation in the run's format."""
    dtype, m, dot = DTYPES[extreme.dtype], extreme.M, extreme.order
    rnn, head = ({name: weight.astype(dtype) for name, weight in layer.weights.items()} for layer in network.layers)
    act, gate = _functions(extreme)
    h = c = np.zeros((extreme.N, m), dtype)
    states = []
    for x_t in x.astype(dtype).swapaxes(0, 1):
        inner, own = dot(h, rnn["recurrent_kernel"]), dot(np.ascontiguousarray(x_t), rnn["kernel"])
        if extreme.kind == "GRU":
            own, inner = own + rnn["bias"][0], inner + rnn["bias"][1]
            z, r = gate(own[:, :m] + inner[:, :m]), gate(own[:, m : 2 * m] + inner[:, m : 2 * m])
            candidate = act(own[:, 2 * m :] + r * inner[:, 2 * m :])
            h = z * h + (dtype(1.0) - z) * candidate
        else:
            total = (own + inner) + rnn["bias"] if extreme.bias_last else (own + rnn["bias"]) + inner
            if extreme.kind == "SimpleRNN":
                h = act(total)
            else:
                i, f, g, o = (total[:, k * m : (k + 1) * m] for k in range(4))
                c = gate(f) * c + gate(i) * act(g)
                h = gate(o) * act(c)
        states.append(h)
    outputs = dot(np.ascontiguousarray(h), head["kernel"]) + head["bias"]
    wide = np.float64 if extreme.dtype == "float64" else np.float32
    return np.stack(states, axis=1).astype(wide), outputs.astype(wide)


def _in_torch(extreme: Extreme, network: Network, x: Array) -> tuple[Array, Array]:
    import torch

    rnn, head = ({k: torch.from_numpy(w.copy()) for k, w in layer.weights.items()} for layer in network.layers)
    own = {"linear": lambda z: z, "relu": torch.relu, "tanh": torch.tanh}[extreme.activation]
    h, states = torch.zeros(extreme.N, extreme.M), []
    for x_t in torch.from_numpy(x.copy()).swapaxes(0, 1):
        h = own(torch.addmm(rnn["bias"], x_t, rnn["kernel"]) + h @ rnn["recurrent_kernel"])
        states.append(h)
    return torch.stack(states, dim=1).numpy(), torch.addmm(head["bias"], h, head["kernel"]).numpy()


def _in_jax(extreme: Extreme, network: Network, x: Array) -> tuple[Array, Array]:
    import jax
    import jax.numpy as jnp

    rnn, head = (dict(layer.weights) for layer in network.layers)
    own = {"linear": lambda z: z, "relu": jax.nn.relu, "tanh": jnp.tanh}[extreme.activation]

    def step(h: Any, x_t: Any) -> tuple[Any, Any]:
        h = own(x_t @ rnn["kernel"] + h @ rnn["recurrent_kernel"] + rnn["bias"])
        return h, h

    h, states = jax.lax.scan(step, jnp.zeros((extreme.N, extreme.M)), jnp.asarray(x).swapaxes(0, 1))
    return np.asarray(states.swapaxes(0, 1)), np.asarray(h @ head["kernel"] + head["bias"])


def runs_of(extreme: Extreme, network: Network, x: Array) -> dict[str, tuple[Array, Array]]:
    """Return what each implementation gives, by its name."""
    found = {"NumPy": run(extreme, network, x)}
    if extreme.kind == "SimpleRNN" and extreme.dtype == "float32" and extreme.T <= 1000 and extreme.seed % 4 == 0:
        found |= {"torch": _in_torch(extreme, network, x), "JAX": _in_jax(extreme, network, x)}
    return found


# --- with one number that is wrong ---


class InOrder(OrderedMatrix):
    """A matrix whose every product has the noise of adding up in index order, where that is larger."""

    most = 10**9


@np.errstate(all="ignore")
def spoiled(network: Network, x: Array, states: Array, outputs: Array, rng: np.random.Generator) -> Any:
    """Return states and outputs, each with one number moved by VISIBLE times its noise; None where none has any."""
    recording = Recording((x,), (outputs,), {"rnn": states})
    # The noise of a number that looks wrong is also that of adding up in index order, where that is larger.
    calls, layer = observe(network, [recording]), network.layer("rnn")
    (steps,) = differences(layer, calls, Analysis(matrix=InOrder))
    expected = replay(network, (x,), arithmetic=FREE_RUNNING).outputs[0]
    moved = []
    for array, difference, noise in (
        (states, steps.value, steps.noise),
        (outputs, outputs - expected.value, expected.noise),
    ):
        places = np.argwhere(np.isfinite(noise) & np.isfinite(array) & (noise > 0.0))
        if not len(places):
            return None
        place = tuple(places[rng.integers(len(places))])
        new = array.copy()
        new[place] += (VISIBLE + 1.0) * noise[place] * (1.0 if difference[place] >= 0.0 else -1.0)
        moved.append(new)
    return moved


def judged(network: Network, x: Array, outputs: Array, states: Mapping[str, Array] | None) -> Verdict:
    """Return the verdict on a run."""
    rows, _ = check(network, [Recording((x,), (outputs,), dict(states or {}))])
    return worst(rows)


def examine(seed: int, counts: Counter[str]) -> list[str]:
    """Compare one run, right and wrong, and return what is wrong about the verdicts."""
    extreme = drawn(seed)
    network = network_of(extreme)
    rng = np.random.default_rng(seed + 2 * 10**6)
    narrow = np.float64 if extreme.dtype == "float64" else np.float32
    x = (rng.normal(size=(extreme.N, extreme.T, extreme.D))).astype(DTYPES[extreme.dtype]).astype(narrow)
    failed = []
    for name, (states, outputs) in runs_of(extreme, network, x).items():
        for given in ({"rnn": states}, None):
            verdict = judged(network, x, outputs, given)
            counts[f"right, {'with' if given else 'without'} states: {verdict}"] += 1
            if verdict in FAILED:
                failed.append(
                    f"{verdict} of a correct run in {name} {'with' if given else 'without'} states: {extreme}"
                )
        if wrong := spoiled(network, x, states, outputs, rng):
            for given, ends in (({"rnn": wrong[0]}, outputs), (None, wrong[1])):
                verdict = judged(network, x, ends, given)
                counts[f"wrong, {'with' if given else 'without'} states: {verdict}"] += 1
                if verdict is Verdict.MATCH:
                    failed.append(f"match of a wrong run {'with' if given else 'without'} states: {extreme}")
    return failed


if __name__ == "__main__":
    sweep("extremes", __doc__.splitlines()[0], "runs", 2000, examine)
