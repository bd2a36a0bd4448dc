"""What keeps a fault from showing, each with how to tell and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnncheck.checks.observed import Call
from rnncheck.equations.cells import CELLS
from rnncheck.network import Array, Layer


@dataclass(frozen=True)
class Cause:
    """Something about a model and its inputs that hides faults.

    Attributes:
        reason: what is so, as the end of "... would not show: ".
        remedy: what to do.
        holds: (layer, the first call as it was observed) -> whether it is so.
    """

    reason: str
    remedy: str
    holds: Callable[[Layer, Call], bool]


def _weight(layer: Layer, name: str) -> Array:
    return layer.weights.get(name, np.zeros(0))


def _steps(layer: Layer, call: Call) -> Array | None:
    """Return what a layer reads at every step, (N, T, ...), where it was observed."""
    return call.tensor(layer.inputs[0]) if layer.kind in CELLS else None


def _states_are_zero(layer: Layer, call: Call) -> bool:
    states = [call.tensor(tensor) for tensor in layer.initial_state]
    return all(state is not None and not state.any() for state in states)


def _has_axis(axis: int, least: int) -> Callable[[Layer, Call], bool]:
    def holds(layer: Layer, call: Call) -> bool:
        x = _steps(layer, call)
        return x is not None and x.shape[axis] < least

    return holds


def _samples_are_equal(layer: Layer, call: Call) -> bool:
    x = _steps(layer, call)
    return x is not None and len(x) > 1 and bool((x == x[:1]).all())


def _mask(layer: Layer, call: Call) -> Array | None:
    return None if layer.mask is None else call.tensor(layer.mask)


def _pads_only_the_end(layer: Layer, call: Call) -> bool:
    mask = _mask(layer, call)
    return mask is not None and bool((np.sort(mask, axis=1)[:, ::-1] == mask).all())


def _mask_counts_all(layer: Layer, call: Call) -> bool:
    mask = _mask(layer, call)
    return mask is not None and bool(mask.all())


ZERO_WEIGHT = Cause(
    "the weight is zero",
    "Use random weights.",
    lambda layer, call: any(not weight.any() for weight in layer.weights.values()),
)


ZERO_BIAS = Cause(
    "the bias is zero",
    "Use random biases.",
    lambda layer, call: not _weight(layer, "bias").any(),
)


ZERO_RECURRENT_BIAS = Cause(
    "the recurrent bias is zero",
    "Use random biases.",
    lambda layer, call: not _weight(layer, "bias")[-1:].any(),
)


CONSTANT_WEIGHTS = Cause(
    "the weights are all equal",
    "Use random weights.",
    lambda layer, call: all(np.ptp(w) == 0.0 for w in layer.weights.values() if w.size),
)


ONE_STEP = Cause("there is one step only", "Use at least four steps.", _has_axis(1, 2))


ONE_SAMPLE = Cause("there is one sample only", "Use at least two samples.", _has_axis(0, 2))


TWO_SAMPLES = Cause("there are fewer than three samples", "Use at least three samples.", _has_axis(0, 3))


EQUAL_SAMPLES = Cause("all samples are equal", "Use random inputs.", _samples_are_equal)


NO_SAMPLE_PADDED = Cause("every step counts", "Use a mask with padding and holes.", _mask_counts_all)


PADS_THE_END = Cause(
    "the mask pads the end only", "Use masks with holes and padding on both ends.", _pads_only_the_end
)


ZERO_STATES = Cause("the initial states are zero", "Use random initial states.", _states_are_zero)


ONE_CALL = Cause(
    "there is one call only",
    "Record the second of two calls, or use --metamorphic where Keras runs the model.",
    lambda layer, call: call.index is None,
)
