"""Faults of the order of gates, of where their blocks are cut, and of transposes."""

from __future__ import annotations

import numpy as np

from rnncheck.equations.cells import GRU_GATES, LSTM_GATES, units
from rnncheck.equations.changes import LSTMS, with_weights
from rnncheck.faults.catalogue.causes import CONSTANT_WEIGHTS, ONE_STEP, ZERO_BIAS
from rnncheck.faults.catalogue.fault import Fault, in_layer
from rnncheck.network import Array, Layer

# Other libraries' orders, as Keras' names of the gates: kinds, order, whose it is.
_ORDERS = (
    (LSTMS, "iofc", "ONNX's"),
    (LSTMS, "ifoc", "Core ML's"),
    (LSTMS, "icfo", "that of TensorFlow 1's cells"),
    (LSTMS, "fico", "OpenVINO's"),
    (LSTMS, "cfoi", "that of older Deeplearning4j"),
    (("GRU",), "rzh", "torch's and cuDNN's"),
    (("GRU",), "hzr", "the last gate first"),
)


def gates_of(layer: Layer) -> tuple[str, ...]:
    """Return the names of a layer's gates, in the order of Keras' blocks; one for SimpleRNN."""
    return LSTM_GATES if "LSTM" in layer.kind else GRU_GATES if layer.kind == "GRU" else ("h",)


def blocks(layer: Layer, gates: str) -> Array:
    """Return the columns of the blocks that are named, one after the other."""
    own, m = gates_of(layer), units(layer)
    return np.concatenate([np.arange(own.index(gate) * m, (own.index(gate) + 1) * m) for gate in gates])


def with_columns(
    layer: Layer, columns: Array, names: tuple[str, ...] = ("kernel", "recurrent_kernel", "bias")
) -> Layer:
    """Return the layer with the columns of its weights in another order."""
    return with_weights(layer, **{name: layer.weights[name][..., columns] for name in names if name in layer.weights})


def _taken_for(layer: Layer, order: str) -> Array:
    """Return which columns each gate gets where Keras' blocks are taken to be in another order."""
    own, m = gates_of(layer), units(layer)
    return np.concatenate([np.arange(order.index(gate) * m, (order.index(gate) + 1) * m) for gate in own])


def _in_order(kinds: tuple[str, ...], order: str, whose: str) -> tuple[Fault, Fault]:
    spelled = ", ".join(order)
    return (
        Fault(
            f"gate_order_{order}",
            "gate order",
            f"the gates are read in the order {spelled}: {whose}",
            in_layer(lambda layer: with_columns(layer, _taken_for(layer, order)), kinds),
            (CONSTANT_WEIGHTS,),
        ),
        Fault(
            f"bias_gate_order_{order}",
            "gate order",
            f"the bias alone is read in the order {spelled}: {whose}",
            in_layer(
                lambda layer: (
                    with_columns(layer, _taken_for(layer, order), ("bias",)) if "bias" in layer.weights else None
                ),
                kinds,
            ),
            (ZERO_BIAS, CONSTANT_WEIGHTS),
        ),
    )


def _split_by_input_dim(layer: Layer) -> Layer | None:
    """Cut the blocks every D columns: gate k gets the columns k·D ... k·D + M - 1."""
    kernel, m, gates = layer.weights["kernel"], units(layer), len(gates_of(layer))
    d = kernel.shape[-2]
    if d == m or gates == 1:
        return None
    columns = (np.arange(gates)[:, np.newaxis] * d + np.arange(m)).reshape(-1) % (gates * m)
    return with_columns(layer, columns)


def _recurrent_kernel_transposed(layer: Layer) -> Layer:
    """Take each gate's block of U (..., M, M) for its transpose."""
    kernel, m = layer.weights["recurrent_kernel"], units(layer)
    parts = np.split(kernel, kernel.shape[-1] // m, axis=-1)
    return with_weights(layer, recurrent_kernel=np.concatenate([part.swapaxes(-1, -2) for part in parts], axis=-1))


def _coupled(layer: Layer) -> Layer | None:
    """Make f = 1 - i, which is what these activations give of -z_i."""
    if layer.options["recurrent_activation"].name not in {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}:
        return None

    def coupled(weight: Array) -> Array:
        new = np.array(weight)
        new[..., blocks(layer, "f")] = -weight[..., blocks(layer, "i")]
        return new

    return with_weights(layer, **{name: coupled(weight) for name, weight in layer.weights.items()})


def _reshaped(name: str, layer: Layer) -> Layer | None:
    """Read the memory of a transposed matrix, row after row, as if it were not transposed."""
    weight = layer.weights[name]
    rows = weight.reshape(-1, weight.shape[-1])
    return None if 1 in rows.shape else with_weights(layer, **{name: rows.T.reshape(weight.shape)})


FAULTS = (
    *(fault for order in _ORDERS for fault in _in_order(*order)),
    Fault(
        "split_by_input_dim",
        "gate order",
        "the gates' blocks are cut every D columns instead of every M",
        in_layer(_split_by_input_dim),
        (CONSTANT_WEIGHTS,),
    ),
    Fault(
        "recurrent_kernel_transposed",
        "transposes",
        "each gate's block of the recurrent kernel is taken for its transpose",
        in_layer(_recurrent_kernel_transposed),
        (ONE_STEP, CONSTANT_WEIGHTS),
    ),
    Fault(
        "kernel_reshaped",
        "transposes",
        "the kernel is reshaped where it had to be transposed",
        in_layer(lambda layer: _reshaped("kernel", layer)),
        (CONSTANT_WEIGHTS,),
    ),
    Fault(
        "recurrent_kernel_reshaped",
        "transposes",
        "the recurrent kernel is reshaped where it had to be transposed",
        in_layer(lambda layer: _reshaped("recurrent_kernel", layer)),
        (ONE_STEP, CONSTANT_WEIGHTS),
    ),
    Fault(
        "input_and_forget_coupled",
        "options",
        "the forget gate is one minus the input gate: ONNX's input_forget, which nobody asked for",
        in_layer(_coupled, LSTMS),
        (ONE_STEP,),
    ),
)
