"""Faults of biases, and of the variants of GRU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rnncheck.equations.cells import CELLS, Gates, cell_of
from rnncheck.equations.changes import LSTMS, with_cell, with_options, with_weights
from rnncheck.equations.operands import Options, Weights, X
from rnncheck.faults.catalogue.causes import ONE_STEP, ZERO_BIAS, ZERO_RECURRENT_BIAS
from rnncheck.faults.catalogue.fault import Change, Fault, in_layer
from rnncheck.faults.catalogue.gates import blocks
from rnncheck.network import Array, Layer

# (layer, a copy of its bias) -> what the faulty implementation has instead; None where it cannot have the fault.
BiasChange = Callable[[Layer, Array], Array | None]


def _bias(change: BiasChange, kinds: Sequence[str] = tuple(CELLS)) -> Change:
    def changed(layer: Layer) -> Layer | None:
        bias = layer.weights.get("bias")
        new = None if bias is None else change(layer, np.array(bias))
        return None if new is None else with_weights(layer, bias=new)

    return in_layer(changed, kinds)


def _rows(change: Callable[[Array], Array]) -> Change:
    """Return a change of the two rows of a GRU's bias; a bias of one row cannot have it."""
    return _bias(lambda layer, bias: change(bias) if bias.ndim == 2 else None, ("GRU",))


def _dropped(layer: Layer, bias: Array) -> Array:
    del layer
    return np.zeros_like(bias)


def _forget_gate(amount: float) -> BiasChange:
    def change(layer: Layer, bias: Array) -> Array:
        bias[blocks(layer, "f")] += bias.dtype.type(amount)
        return bias

    return change


def _forget_after_sigmoid(layer: Layer) -> Layer:
    cell = cell_of(layer)

    def gates(projected: X, h: X, weights: Weights, options: Options) -> Gates:
        f, gain, o = cell.gates(projected, h, weights, options)
        return f + 1.0, gain, o

    return with_cell(layer, gates=gates)


def _reset_after_flipped(layer: Layer) -> Layer:
    """Keep the sum of the biases: two rows become one, one becomes two of which the second is zero."""
    flipped = with_options(layer, reset_after=not layer.options["reset_after"])
    bias = layer.weights.get("bias")
    if bias is None:
        return flipped
    return with_weights(flipped, bias=bias.sum(axis=0) if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)]))


def _merged(layer: Layer, bias: Array) -> Array | None:
    """Move the candidate's recurrent bias to the input's, which the reset gate does not reach."""
    if bias.ndim != 2:
        return None
    candidate = blocks(layer, "h")
    bias[0, candidate] += bias[1, candidate]
    bias[1, candidate] = 0.0
    return bias


def _update_gate_inverted(layer: Layer) -> Layer:
    def output(gates: Gates, h: X, options: Options) -> X:
        del options
        z, g = gates
        return (1.0 - z) * h + z * g

    return with_cell(layer, output=output)


FAULTS = (
    Fault("bias_dropped", "bias", "the bias is left out", _bias(_dropped), (ZERO_BIAS,)),
    Fault(
        "bias_doubled",
        "bias",
        "the bias is added twice, as where a library holds two of them",
        _bias(lambda layer, bias: 2 * bias),
        (ZERO_BIAS,),
    ),
    Fault("dense_bias_dropped", "bias", "the bias of Dense is left out", _bias(_dropped, ("Dense",)), (ZERO_BIAS,)),
    Fault(
        "forget_bias_added",
        "bias",
        "1 is added to the forget gate's bias once more",
        _bias(_forget_gate(1.0), LSTMS),
        (ONE_STEP,),
    ),
    Fault(
        "forget_bias_missing",
        "bias",
        "the 1 in the forget gate's bias is left out",
        _bias(_forget_gate(-1.0), LSTMS),
        (ONE_STEP,),
    ),
    Fault(
        "forget_bias_after_sigmoid",
        "bias",
        "1 is added to the forget gate after its activation",
        in_layer(_forget_after_sigmoid, LSTMS),
        (ONE_STEP,),
    ),
    Fault(
        "reset_after_flipped",
        "GRU variants",
        "the reset gate is applied on the other side of the recurrent product",
        in_layer(_reset_after_flipped, ("GRU",)),
        (ONE_STEP,),
    ),
    Fault(
        "gru_biases_merged",
        "GRU variants",
        "the candidate's recurrent bias is added outside the reset gate",
        _bias(_merged, ("GRU",)),
        (ZERO_RECURRENT_BIAS,),
    ),
    Fault(
        "recurrent_bias_dropped",
        "GRU variants",
        "the recurrent bias is left out",
        _rows(lambda bias: np.stack([bias[0], np.zeros_like(bias[1])])),
        (ZERO_RECURRENT_BIAS,),
    ),
    Fault(
        "input_bias_dropped",
        "GRU variants",
        "the input's bias is left out",
        _rows(lambda bias: np.stack([np.zeros_like(bias[0]), bias[1]])),
        (ZERO_BIAS,),
    ),
    Fault(
        "bias_rows_swapped",
        "GRU variants",
        "the two rows of the bias are exchanged",
        _rows(lambda bias: bias[::-1]),
        (ZERO_BIAS,),
    ),
    Fault(
        "update_gate_inverted", "GRU variants", "z and 1 - z are exchanged", in_layer(_update_gate_inverted, ("GRU",))
    ),
)
