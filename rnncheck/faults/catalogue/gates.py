"""Faults of the order of gates, of where their blocks are cut, and of transposes."""

from __future__ import annotations

import numpy as np

from rnncheck.equations.cells import GRU_GATES, LSTM_GATES, gate_width, split, units, weights_of_gates
from rnncheck.equations.changes import LSTMS, with_weights
from rnncheck.faults.catalogue.causes import CONSTANT_WEIGHTS, ONE_STEP, ZERO_BIAS
from rnncheck.faults.catalogue.fault import WITH_WEIGHTS, fault, of_layer, of_weight
from rnncheck.network import Array, Layer

# Other libraries' orders, as Keras' names of the gates, and whose they are.
_LSTM_ORDERS = {
    "iofc": "ONNX's",
    "ifoc": "Core ML's",
    "icfo": "that of TensorFlow 1's cells",
    "fico": "OpenVINO's",
    "cfoi": "that of older Deeplearning4j",
}
_GRU_ORDERS = {"rzh": "torch's and cuDNN's", "hzr": "the last gate first"}


def _enter_order(order: str, whose: str, own: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    def read_in_order(weight: Array) -> Array:
        # (..., G·M) in Keras' order, whose blocks are taken to be in another
        block = dict(zip(order, split(weight, tuple(order)), strict=True))
        return np.concatenate([block[gate] for gate in own], axis=-1)

    told = f"read in the order {', '.join(order)}: {whose}"
    for of, name, summary, hidden_by in (
        (of_weight(), f"gate_order_{order}", f"the gates are {told}", [CONSTANT_WEIGHTS]),
        # A port may turn the kernels' blocks and forget the bias.
        (of_weight("bias"), f"bias_gate_order_{order}", f"the bias alone is {told}", [ZERO_BIAS, CONSTANT_WEIGHTS]),
    ):
        fault("gate order", of, kinds=kinds, hidden_by=hidden_by, name=name, summary=summary)(read_in_order)


for _order, _whose in _LSTM_ORDERS.items():
    _enter_order(_order, _whose, LSTM_GATES, LSTMS)
for _order, _whose in _GRU_ORDERS.items():
    _enter_order(_order, _whose, GRU_GATES, ("GRU",))


@fault("gate order", of_layer, hidden_by=[CONSTANT_WEIGHTS])
def split_by_input_dim(layer: Layer) -> Layer | None:
    """the gates' blocks are cut every D columns instead of every M"""
    # Columns that lie behind the last are taken from the first on.
    d, columns = layer.weights["kernel"].shape[-2:]
    m = gate_width(layer)
    if m in {d, columns}:
        return None
    taken = (np.arange(columns // m)[:, np.newaxis] * d + np.arange(m)).reshape(-1) % columns
    return with_weights(layer, **{name: weight[..., taken] for name, weight in weights_of_gates(layer).items()})


def _is_square(layer: Layer) -> bool:
    return units(layer) == gate_width(layer)  # which no layer with a projection is


@fault("transposes", of_weight("recurrent_kernel"), when=_is_square, hidden_by=[ONE_STEP, CONSTANT_WEIGHTS])
def recurrent_kernel_transposed(kernel: Array) -> Array:
    """each gate's block of the recurrent kernel is transposed"""
    m, columns = kernel.shape[-2:]
    return np.concatenate([block.swapaxes(-1, -2) for block in np.split(kernel, columns // m, axis=-1)], axis=-1)


@fault("transposes", of_weight("kernel"), kinds=WITH_WEIGHTS)
def kernel_reshaped(kernel: Array) -> Array | None:
    """the kernel is reshaped where it should be transposed"""
    # torch has (G·M, D) for Keras' (D, G·M), and (F, C, k...) for (k..., C, F): either way the shape is right.
    new = np.moveaxis(kernel, (-1, -2), (0, 1)).reshape(kernel.shape)
    return None if np.array_equal(new, kernel) else new


@fault("transposes", of_weight("recurrent_kernel"), hidden_by=[ONE_STEP])
def recurrent_kernel_reshaped(kernel: Array) -> Array | None:
    """the recurrent kernel is reshaped where it should be transposed"""
    return kernel_reshaped(kernel)


def _is_a_sigmoid(layer: Layer) -> bool:
    # f(-x) = 1 - f(x), so that the forget gate of the negative weights is one minus the input gate.
    return layer.options["recurrent_activation"].name in {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}


@fault("options", of_weight(), kinds=LSTMS, when=_is_a_sigmoid, hidden_by=[ONE_STEP])
def input_and_forget_coupled(weight: Array) -> Array:
    """the forget gate is one minus the input gate, as with ONNX's input_forget"""
    i, f, _, _ = split(weight, LSTM_GATES)
    f[...] = -i
    return weight
