"""Faults of biases, and of the variants of GRU."""

from __future__ import annotations

import numpy as np

from rnncheck.equations import cell_of
from rnncheck.faults.causes import ONE_STEP, ZERO_BIAS, ZERO_RECURRENT_BIAS, Cause
from rnncheck.faults.fault import Change, Fault, in_layer, with_cell, with_options, with_weights
from rnncheck.faults.gates import blocks
from rnncheck.network import Array, Layer

_LSTM = ("LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


def _bias(change: object, kinds: tuple[str, ...]) -> Change:
    def changed(layer: Layer) -> Layer | None:
        bias = layer.weights.get("bias")
        new = None if bias is None else change(layer, np.array(bias))  # type: ignore[operator]
        return None if new is None else with_weights(layer, bias=new)

    return in_layer(changed, kinds)


_ANY = ("SimpleRNN", "GRU", *_LSTM)


def _two_rows(layer: Layer, bias: Array) -> bool:
    return layer.kind == "GRU" and bias.ndim == 2


def _shifted_forget(amount: float) -> object:
    def change(layer: Layer, bias: Array) -> Array:
        bias[blocks(layer, "f")] += bias.dtype.type(amount)
        return bias

    return change


def _forget_after_sigmoid(layer: Layer) -> Layer:
    cell = cell_of(layer)

    def gates(projected: object, h: object, weights: object, options: object) -> tuple[object, ...]:
        f, gain, o = cell.gates(projected, h, weights, options)  # type: ignore[arg-type]
        return f + 1.0, gain, o

    return with_cell(layer, gates=gates)


def _reset_after_flipped(layer: Layer) -> Layer:
    flipped = with_options(layer, reset_after=not layer.options["reset_after"])
    bias = layer.weights.get("bias")
    if bias is None:
        return flipped
    return with_weights(flipped, bias=bias.sum(axis=0) if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)]))


def _biases_merged(layer: Layer, bias: Array) -> Array | None:
    if not _two_rows(layer, bias):
        return None
    candidate = blocks(layer, "h")
    bias[0, candidate] += bias[1, candidate]
    bias[1, candidate] = 0.0
    return bias


def _update_gate_inverted(layer: Layer) -> Layer:
    def output(gates: tuple[object, ...], h: object, options: object) -> object:  # noqa: ARG001 - a cell's signature
        z, g = gates
        return (1.0 - z) * h + z * g  # type: ignore[operator]

    return with_cell(layer, output=output)


def _row(which: int, change: object) -> object:
    return lambda layer, bias: change(bias, which) if _two_rows(layer, bias) else None  # type: ignore[operator]


def _zeroed(bias: Array, row: int) -> Array:
    bias[row] = 0.0
    return bias


def _entry(name: str, group: str, summary: str, change: object, kinds: tuple[str, ...], *causes: Cause) -> Fault:
    return Fault(name, group, summary, _bias(change, kinds), causes)


FAULTS = (
    _entry("bias_dropped", "bias", "the bias is left out", lambda layer, bias: 0 * bias, _ANY, ZERO_BIAS),
    _entry(
        "bias_doubled",
        "bias",
        "the bias is added twice, as where a library holds two of them",
        lambda layer, bias: 2 * bias,
        _ANY,
        ZERO_BIAS,
    ),
    _entry(
        "dense_bias_dropped",
        "bias",
        "the bias of Dense is left out",
        lambda layer, bias: 0 * bias,
        ("Dense",),
        ZERO_BIAS,
    ),
    _entry(
        "forget_bias_added",
        "bias",
        "1 is added to the forget gate's bias once more",
        _shifted_forget(1.0),
        _LSTM,
        ONE_STEP,
    ),
    _entry(
        "forget_bias_missing",
        "bias",
        "the 1 in the forget gate's bias is left out",
        _shifted_forget(-1.0),
        _LSTM,
        ONE_STEP,
    ),
    Fault(
        "forget_bias_after_sigmoid",
        "bias",
        "1 is added to the forget gate after its activation",
        in_layer(_forget_after_sigmoid, _LSTM),
        (ONE_STEP,),
    ),
    Fault(
        "reset_after_flipped",
        "GRU variants",
        "the reset gate is applied on the other side of the recurrent product",
        in_layer(_reset_after_flipped, ("GRU",)),
        (ONE_STEP,),
    ),
    _entry(
        "gru_biases_merged",
        "GRU variants",
        "the candidate's recurrent bias is added outside the reset gate",
        _biases_merged,
        ("GRU",),
        ZERO_RECURRENT_BIAS,
    ),
    _entry(
        "recurrent_bias_dropped",
        "GRU variants",
        "the recurrent bias is left out",
        _row(1, _zeroed),
        ("GRU",),
        ZERO_RECURRENT_BIAS,
    ),
    _entry(
        "input_bias_dropped", "GRU variants", "the input's bias is left out", _row(0, _zeroed), ("GRU",), ZERO_BIAS
    ),
    _entry(
        "bias_rows_swapped",
        "GRU variants",
        "the two rows of the bias are exchanged",
        _row(0, lambda bias, row: bias[::-1].copy()),
        ("GRU",),
        ZERO_BIAS,
    ),
    Fault(
        "update_gate_inverted",
        "GRU variants",
        "z and 1 - z are exchanged",
        in_layer(_update_gate_inverted, ("GRU",)),
    ),
)
