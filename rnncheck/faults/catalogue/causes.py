"""What keeps a fault from showing, each with how to tell and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncheck.checks.observed import Call
from rnncheck.equations.arithmetic import rounded_weights
from rnncheck.equations.cells import CELLS, cell_of
from rnncheck.network import Array, Layer, Tensor

# (layer, the first call as it was observed) -> whether something is so there
Condition = Callable[[Layer, Call], bool]


@dataclass(frozen=True)
class Cause:
    """Something about a model and its inputs that hides faults."""

    reason: str  # what is so, behind the names of the faults and a colon
    remedy: str  # what to do
    holds: Condition  # whether it is so


def _of_bias(holds: Callable[[Array], bool]) -> Condition:
    return lambda layer, call: holds(layer.weights.get("bias", np.zeros(0)))


def _of_tensor(find: Callable[[Layer], Tensor | None], holds: Callable[[Array], Any]) -> Condition:
    # Of a tensor that nobody observed nothing holds.
    def holds_of(layer: Layer, call: Call) -> bool:
        tensor = find(layer)
        array = None if tensor is None else call.tensor(tensor)
        return array is not None and bool(holds(array))

    return holds_of


def _of_inputs(holds: Callable[[Array], Any]) -> Condition:
    # (N, T, ...), which a recurrent layer reads, or what moves its steps
    kinds = (*CELLS, "Flatten", "Reverse")
    return _of_tensor(lambda layer: layer.inputs[0] if layer.kind in kinds else None, holds)


def _of_output(holds: Callable[[Array], Any]) -> Condition:
    # What a layer puts out, (N, ..., K).
    return _of_tensor(lambda layer: Tensor(layer.name), holds)


def _of_mask(holds: Callable[[Array], Any]) -> Condition:
    # The mask (N, T), where there is one.
    return _of_tensor(lambda layer: layer.mask, holds)


def _states_are_zero(layer: Layer, call: Call) -> bool:
    states = [call.tensor(tensor) for tensor in layer.initial_state]
    return all(state is not None and not state.any() for state in states)


# Gates, and what they let through, are saturated where most are so close to -1, 0 or 1, at some samples and steps.
_CLOSE, _MOST = 0.01, 0.9
_SAMPLES, _STEPS = slice(0, 4), 64


def _is_saturated(layer: Layer, call: Call) -> bool:
    steps = call.steps(layer) if layer.kind in CELLS else None
    if steps is None:
        return False
    cell, weights = cell_of(layer), rounded_weights(layer)
    some = slice(0, min(_STEPS, steps.h.shape[1]))
    seen = (steps.x[_SAMPLES, some], steps.before(_SAMPLES, some))
    x, h = (array.reshape(-1, *array.shape[2:]) for array in seen)
    gates = cell.gates(cell.project(x, weights, layer.options), h, weights, layer.options)
    numbers = np.concatenate([gate.reshape(-1) for gate in gates])
    return bool(numbers.any() and np.mean(np.abs(numbers - np.rint(numbers)) < _CLOSE) > _MOST)


ZERO_WEIGHT = Cause(
    "the weight is zero", "Use random weights.", lambda layer, call: any(not w.any() for w in layer.weights.values())
)
ZERO_BIAS = Cause("the bias is zero", "Use random biases.", _of_bias(lambda b: not b.any()))
ZERO_RECURRENT_BIAS = Cause("the recurrent bias is zero", "Use random biases.", _of_bias(lambda b: not b[-1:].any()))
CONSTANT_WEIGHTS = Cause(
    "the weights are all equal",
    "Use random weights.",
    lambda layer, call: all(np.ptp(weight) == 0.0 for weight in layer.weights.values() if weight.size),
)
ONE_STEP = Cause("there is one step only", "Use at least four steps.", _of_inputs(lambda x: x.shape[1] < 2))
ONE_SAMPLE = Cause("there is one sample only", "Use at least two samples.", _of_inputs(lambda x: len(x) < 2))
EQUAL_SAMPLES = Cause(
    "all samples are equal", "Use random inputs.", _of_inputs(lambda x: len(x) > 1 and (x == x[:1]).all())
)
SINGLE_SAMPLE = Cause("there is one sample only", "Use at least two samples.", _of_output(lambda y: len(y) < 2))
EQUAL_OUTPUTS = Cause(
    "all outputs of a sample are equal", "Use random weights.", _of_output(lambda y: (y == y[..., :1]).all())
)
ZERO_OUTPUTS = Cause("all outputs are zero", "Use random weights and inputs.", _of_output(lambda y: not y.any()))
NO_SAMPLE_PADDED = Cause("every step counts", "Use a mask with padding and holes.", _of_mask(lambda mask: mask.all()))
PADS_THE_END = Cause(
    "the mask pads the end only",
    "Use masks with holes and padding on both ends.",
    _of_mask(lambda mask: (mask[:, 1:] <= mask[:, :-1]).all()),
)
NO_NEGATIVE_INPUTS = Cause(
    "no number that it reads is negative",
    "Use inputs of both signs.",
    _of_tensor(lambda layer: layer.inputs[0], lambda x: (x >= 0.0).all()),
)
ZERO_STATES = Cause("the initial states are zero", "Use random initial states.", _states_are_zero)
ONE_CALL = Cause(
    "there is one call only",
    "Give the arrays of a second call, too, or ask for metamorphic runs where Keras runs the model.",
    lambda layer, call: call.index is None,
)
# What hides any fault.
SATURATED = Cause("the gates are saturated", "Use smaller weights or inputs.", _is_saturated)
UNDER_THE_NOISE = Cause(
    "no number here moves by more than rounding does",
    "Use larger weights or inputs, and more samples and steps.",
    lambda layer, call: True,
)
