"""One step of a recurrent layer in numbers: what a person who ports it prints beside his own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnncheck.checks.blocks import Place
from rnncheck.checks.observed import observe
from rnncheck.checks.verdicts import Check, Row, keyed_failures
from rnncheck.equations.arithmetic import PLAIN, received, receiving
from rnncheck.equations.cells import CELLS, cell_of
from rnncheck.network import Array, Network, Recording


@dataclass(frozen=True, eq=False)
class OneStep:
    """What the equations make of one step of a sample, from what the implementation had before it.

    Attributes:
        layer: its name.
        place: which step, by name (call, n, t).
        unit: the one whose number is the first that is wrong.
        x: what the layer reads, (D,).
        before: its states before the step, (M,), by name: `h`, and `c` where it has one. h was observed.
        activations: name -> the sums (M,) that the activation is given, and what it gives, (M,).
        after: its states after the step, (M,), by name.
        observed: the state h that the implementation had after the step, (M,).
    """

    layer: str
    place: Place
    unit: int
    x: Array
    before: Mapping[str, Array]
    activations: Mapping[str, tuple[Array, Array]]
    after: Mapping[str, Array]
    observed: Array


def first_wrong_step(network: Network, recordings: Sequence[Recording], rows: Sequence[Row]) -> OneStep | None:
    """Return the first step that some rows of a run say is wrong; None where that is of no recurrent layer."""
    _, row = min(keyed_failures(rows), key=lambda each: each[0], default=((), None))
    if row is None or row.check != Check.STEP or row.output != "h" or row.first is None:
        return None
    layer, place = network.layer(row.layer), row.first
    steps = observe(network, recordings)[place.get("call", 0)].steps(layer)
    # An image at every step is not printed, and a memory that an earlier call left was seen by nobody.
    if layer.kind not in CELLS or steps is None or steps.x.ndim > 3 or any(c is None for c in steps.memory):
        return None
    n, cell, weights = place["n"], cell_of(layer), PLAIN.weights(layer)
    sample, memory = slice(n, n + 1), tuple(c[n : n + 1] for c in steps.memory if c is not None)
    x = received(steps.x[sample], receiving(layer))
    # The memory follows from the first step on.
    with np.errstate(all="ignore"):  # what overflows shows in the numbers
        for t in range(0 if memory else place["t"], place["t"] + 1):
            before = (steps.before(sample, slice(t, t + 1))[:, 0].astype(np.float64), *memory)
            projected = cell.project(x[:, t], weights, layer.options)
            activations, after = cell.step_in_parts(projected, before, weights, layer.options)
            memory = after[1:] if steps.counts is None or steps.counts[n, t] else memory
    return OneStep(
        layer.name,
        {axis: index for axis, index in place.items() if axis in {"call", "n", "t"}},
        place["unit"],
        x[0, place["t"]],
        {name: state[0] for name, state in zip(cell.states, before, strict=True)},
        {name: (sums[0], values[0]) for name, (sums, values) in activations.items()},
        {name: state[0] for name, state in zip(cell.states, after, strict=True)},
        np.asarray(steps.h[n, place["t"]], np.float64),
    )
