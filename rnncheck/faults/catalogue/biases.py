"""Faults of biases, and of the variants of GRU."""

from __future__ import annotations

import numpy as np

from rnncheck.equations.cells import GRU_GATES, LSTM_GATES, split
from rnncheck.equations.changes import LSTMS, with_cell, with_gates, with_options, with_weights
from rnncheck.faults.catalogue.causes import ONE_STEP, ZERO_BIAS, ZERO_RECURRENT_BIAS
from rnncheck.faults.catalogue.fault import CONVOLUTIONS, fault, of_layer, of_weight
from rnncheck.network import Array, Layer

_GRU = ("GRU",)


def _has_two_rows(layer: Layer) -> bool:
    # A bias of the inputs and a recurrent one, (2, 3M); one (3M,) without reset_after.
    return bool(layer.options["reset_after"])


@fault("bias", of_weight("bias"), hidden_by=[ZERO_BIAS])
def bias_dropped(bias: Array) -> Array:
    """the bias is left out"""
    return np.zeros_like(bias)


@fault("bias", of_weight("bias"), hidden_by=[ZERO_BIAS])
def bias_doubled(bias: Array) -> Array:
    """the bias is added twice, as by a library that holds two of them"""
    # torch has bias_ih and bias_hh; Keras' bias must go into one of them.
    return 2 * bias


@fault("bias", of_weight("bias"), kinds=("Dense", *CONVOLUTIONS), hidden_by=[ZERO_BIAS])
def dense_bias_dropped(bias: Array) -> Array:
    """the bias of Dense, or of a convolution, is left out"""
    return np.zeros_like(bias)


@fault("bias", of_weight("bias"), kinds=LSTMS, hidden_by=[ONE_STEP])
def forget_bias_added(bias: Array) -> Array:
    """1 is added to the forget gate's bias once more"""
    # Keras' unit_forget_bias is in the weights; TensorFlow 1's BasicLSTMCell adds its forget_bias at every step.
    _, f, _, _ = split(bias, LSTM_GATES)
    f += 1.0
    return bias


@fault("bias", of_weight("bias"), kinds=LSTMS, hidden_by=[ONE_STEP])
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
    if (bias := layer.weights.get("bias")) is None:
        return flipped
    # The sum of the biases stays: two rows become one; one becomes two, of which the second is zero.
    return with_weights(flipped, bias=bias.sum(axis=0) if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)]))


@fault("GRU variants", of_weight("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_RECURRENT_BIAS])
def gru_biases_merged(bias: Array) -> Array:
    """the candidate's recurrent bias is added outside the reset gate"""
    _, _, (of_inputs, recurrent) = split(bias, GRU_GATES)
    of_inputs += recurrent
    recurrent[...] = 0.0
    return bias


@fault("GRU variants", of_weight("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_RECURRENT_BIAS])
def recurrent_bias_dropped(bias: Array) -> Array:
    """the recurrent bias is left out"""
    bias[1] = 0.0
    return bias


@fault("GRU variants", of_weight("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_BIAS])
def input_bias_dropped(bias: Array) -> Array:
    """the bias of the inputs is left out"""
    bias[0] = 0.0
    return bias


@fault("GRU variants", of_weight("bias"), kinds=_GRU, when=_has_two_rows, hidden_by=[ZERO_BIAS])
def bias_rows_swapped(bias: Array) -> Array:
    """the two rows of the bias are exchanged"""
    return bias[::-1]


@fault("GRU variants", of_layer, kinds=_GRU)
def update_gate_inverted(layer: Layer) -> Layer:
    """z and 1 - z are exchanged"""
    # The gates are z and the candidate g. Keras has z*h + (1 - z)*g, as Cho et al. 2014; Chung et al. 2014 have this.
    return with_cell(layer, output=lambda gates, h, weights, options: (1.0 - gates[0]) * h + gates[0] * gates[1])
