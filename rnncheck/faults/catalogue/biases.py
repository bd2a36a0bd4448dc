"""Faults of biases, and of the variants of GRU."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncheck.equations.cells import GRU_GATES, LSTM_GATES, split
from rnncheck.equations.changes import LSTMS, with_cell, with_gates, with_options, with_weights
from rnncheck.faults.catalogue.causes import ONE_STEP, ZERO_BIAS, ZERO_RECURRENT_BIAS
from rnncheck.faults.catalogue.fault import fault, of_layer, of_weights
from rnncheck.network import Array, Layer

_GRU = ("GRU",)


def _has_two_rows(layer: Layer) -> bool:
    """Whether a GRU has a bias of its inputs and a recurrent one, (2, 3M)."""
    return bool(layer.options["reset_after"])


@fault("bias", of_weights("bias"), hidden_by=[ZERO_BIAS])
def bias_dropped(bias: Array) -> Array:
    """the bias is left out"""
    return np.zeros_like(bias)


@fault("bias", of_weights("bias"), hidden_by=[ZERO_BIAS])
def bias_doubled(bias: Array) -> Array:
    """the bias is added twice, as by a library that holds two of them"""
    return 2 * bias


@fault("bias", of_weights("bias"), kinds=("Dense",), hidden_by=[ZERO_BIAS])
def dense_bias_dropped(bias: Array) -> Array:
    """the bias of Dense is left out"""
    return np.zeros_like(bias)


@fault("bias", of_weights("bias"), kinds=LSTMS, hidden_by=[ONE_STEP])
def forget_bias_added(bias: Array) -> Array:
    """1 is added to the forget gate's bias once more"""
    _, f, _, _ = split(bias, LSTM_GATES)
    f += 1.0
    return bias


@fault("bias", of_weights("bias"), kinds=LSTMS, hidden_by=[ONE_STEP])
def forget_bias_missing(bias: Array) -> Array:
    """the 1 in the forget gate's bias is left out"""
    _, f, _, _ = split(bias, LSTM_GATES)
    f -= 1.0
    return bias


@fault("bias", of_layer, kinds=LSTMS, hidden_by=[ONE_STEP])
def forget_bias_after_sigmoid(layer: Layer) -> Layer:
    """1 is added to the forget gate after its activation"""
    return with_gates(layer, lambda f, gain, o: (f + 1.0, gain, o))


@fault("GRU variants", of_layer, kinds=_GRU, hidden_by=[ONE_STEP])
def reset_after_flipped(layer: Layer) -> Layer:
    """the reset gate is applied on the other side of the recurrent product"""
    flipped = with_options(layer, reset_after=not layer.options["reset_after"])
    bias = layer.weights.get("bias")
    if bias is None:
        return flipped
    # The sum of the biases stays: two rows become one; one becomes two, of which the second is zero.
    return with_weights(flipped, bias=bias.sum(axis=0) if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)]))


@fault("GRU variants", of_weights("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_RECURRENT_BIAS])
def gru_biases_merged(bias: Array) -> Array:
    """the candidate's recurrent bias is added outside the reset gate"""
    _, _, (of_inputs, recurrent) = split(bias, GRU_GATES)
    of_inputs += recurrent
    recurrent[...] = 0.0
    return bias


@fault("GRU variants", of_weights("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_RECURRENT_BIAS])
def recurrent_bias_dropped(bias: Array) -> Array:
    """the recurrent bias is left out"""
    bias[1] = 0.0
    return bias


@fault("GRU variants", of_weights("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_BIAS])
def input_bias_dropped(bias: Array) -> Array:
    """the bias of the inputs is left out"""
    bias[0] = 0.0
    return bias


@fault("GRU variants", of_weights("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_BIAS])
def bias_rows_swapped(bias: Array) -> Array:
    """the two rows of the bias are exchanged"""
    return bias[::-1]


@fault("GRU variants", of_layer, kinds=_GRU)
def update_gate_inverted(layer: Layer) -> Layer:
    """z and 1 - z are exchanged"""

    def output(gates: tuple[Any, Any], h: Any, options: object) -> Any:
        del options
        z, g = gates
        return (1.0 - z) * h + z * g

    return with_cell(layer, output=output)
