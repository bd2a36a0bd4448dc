"""From a Case to a Keras model and its inputs.

Weights and inputs follow one rule: whatever could be zero, equal or constant is not, so that a fault shows. The one
exception is `weights="keras"`, which keeps the notebook's own initialisers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncheck.cases.case import POLICIES, RANKS, Case
from rnncheck.cases.inputs import make_mask
from rnncheck.equations.cells import CELLS
from rnncheck.network import Array

# The features of a step that a Masking layer leaves out.
MASK_VALUE = 0.5

# The number of ids that an Embedding layer knows, 0 among them.
VOCABULARY = 20

# Keras' `threshold` has no defaults, so it cannot be called by its name alone.
THRESHOLD = {"threshold": 0.25, "default_value": -0.5}

# Activations that do not limit the state: a smaller recurrent kernel keeps it moderate.
_UNBOUNDED = {
    "celu", "elu", "gelu", "hard_shrink", "hard_silu", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6",
    "selu", "silu", "soft_shrink", "softplus", "sparse_plus", "squareplus", "swish", "hard_swish", "tanh_shrink",
    "threshold",
}  # fmt: skip
# Those that grow faster than their argument, or begin far from zero.
_STEEP = {"exponential", "log_softmax"}

_CLASSES = {"simple_rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_CLASSES |= {name: f"ConvLSTM{rank}D" for name, rank in RANKS.items()}


@dataclass(frozen=True)
class Built:
    """A model and what to feed it.

    Attributes:
        case: what was asked for.
        model: the Keras model.
        calls: the inputs of one call, or of several in a row for a stateful model.
    """

    case: Case
    model: Any
    calls: tuple[tuple[Array, ...], ...]


def build(case: Case) -> Built:
    """Build the Keras model of a case, set its weights and make its inputs.

    Returns:
        The model and its inputs: `(N, T, D)`, or ids `(N, T)` for an Embedding layer; with axes of space or
        images `(N, T, ..., D)`, with S outer steps `(N, S, T, D)`. Then, where the case has them, the initial states
        `(N, M)` or `(N, ..., M)`, and the mask `(N, T)` or `(N, S, T)`.
    """
    rng = np.random.default_rng(case.seed)  # the weights are drawn first, then the inputs
    model = _model(case)
    if case.weights == "random":
        _set_random_weights(model, case, rng)
    calls = tuple(_inputs(case, model, rng) for _ in range(2 if case.stateful else 1))
    return Built(case, model, calls)


def _model(case: Case) -> Any:
    import keras

    keras.utils.set_random_seed(case.seed)  # for Keras' own initialisers
    steps = (*case.outer, case.T)
    if case.mask_from == "embedding":
        x = _input(case, "inputs", steps, "int32")
        h = keras.layers.Embedding(VOCABULARY, case.D, mask_zero=True, dtype=case.dtype, name="embedding")(x)
    else:
        x = _input(case, "inputs", (*steps, *case.space, *case.image, case.D))
        h = _front(case, x)
    if case.mask_from == "masking":
        h = keras.layers.Masking(MASK_VALUE, dtype=case.dtype, name="masking")(x)
    inputs, outputs, call = [x], [h], {}
    if case.mask != "none" and case.mask_from == "input":
        call["mask"] = _input(case, "mask", steps, "bool")
    for number in range(1, case.layers + 1):
        if states := _nested_states(case, number):
            inputs += keras.tree.flatten(states)
            call["initial_state"] = states[0] if len(states) == 1 and not isinstance(states[0], list) else states
        outputs = keras.tree.flatten(_wrapped(case, number)(outputs[0], **call))
    heads = 2 if case.bidirectional and case.merge_mode == "none" else 1
    read = [_head(case, name, h) for name, h in zip(("", "_backward"), outputs[:heads], strict=False)]
    inputs += [call["mask"]] if "mask" in call else []
    return keras.Model(inputs, [*read, *outputs[heads:]], name="rnncheck_case")


# The layers in front of the recurrent ones, which keep the number of steps.
def _front(case: Case, h: Any) -> Any:
    import keras

    first, doubled = {"data_format": "channels_first"}, 2 * case.D
    fronts: Mapping[str, tuple[tuple[str, tuple[Any, ...], Mapping[str, Any]], ...]] = {
        "none": (),
        "conv1d": (
            ("Conv1D", (doubled, 4), {"padding": "causal", "activation": "relu"}),
            ("Conv1D", (doubled, 2), {"padding": "same", "groups": 2}),
            ("MaxPooling1D", (2, 1, "same"), {}),
            ("BatchNormalization", (), {}),
        ),
        "separable_conv1d": (
            ("ZeroPadding1D", ((2, 1),), {}),
            ("SeparableConv1D", (doubled, 3), {"depth_multiplier": 2}),
            ("Cropping1D", ((0, 1),), {}),
            ("GroupNormalization", (2,), {}),
        ),
        "conv2d": (
            ("each Conv2D", (doubled, (2, 3)), {"padding": "same", "activation": "relu"}),
            ("each AveragePooling2D", (2,), {"padding": "same"}),
            ("each Flatten", (), {}),
        ),
        "depthwise_conv2d": (
            ("each ZeroPadding2D", (((1, 0), (0, 2)),), first),
            ("each DepthwiseConv2D", (3,), {"depth_multiplier": 2, **first}),
            ("each UpSampling2D", (2,), first),
            ("each MaxPooling2D", (3, 2, "same"), first),
            ("each Flatten", (), first),
        ),
        "separable_conv2d": (
            ("each SeparableConv2D", (doubled, 2), {"depth_multiplier": 2}),
            ("each Cropping2D", (((1, 0), (0, 1)),), {}),
            ("each UnitNormalization", (), {}),
            ("each GlobalAveragePooling2D", (), {}),
        ),
        "conv3d": (
            ("Conv3D", (doubled, (2, 3, 2)), {"padding": "same", "activation": "tanh"}),
            ("MaxPooling3D", ((1, 2, 2),), {}),
            ("LayerNormalization", (), {}),
            ("each GlobalMaxPooling2D", (), {}),
        ),
    }
    for number, (kind, arguments, options) in enumerate(fronts[case.front], start=1):
        made = getattr(keras.layers, kind.removeprefix("each "))(
            *arguments, **options, dtype=case.dtype, name=f"front_{number}"
        )
        is_each = kind.startswith("each ")
        h = (keras.layers.TimeDistributed(made, dtype=case.dtype, name=f"each_{number}") if is_each else made)(h)
    return h


def _input(case: Case, name: str, shape: tuple[int, ...], dtype: str | None = None) -> Any:
    import keras

    # Mixed policies keep their variables in float32, and take their inputs in it.
    floats = "float32" if case.dtype.startswith("mixed") else POLICIES[case.dtype]
    samples = case.N if case.stateful else None  # a stateful layer keeps a state for each sample
    return keras.Input(batch_shape=(samples, *shape), dtype=dtype or floats, name=name)


def _head(case: Case, name: str, h: Any) -> Any:
    import keras

    if case.flatten:
        h._keras_mask = None  # Flatten would warn that it loses the mask
        h = keras.layers.Flatten(name="flatten" + name, dtype=case.dtype)(h)
    activation, dtype = _activation(case.dense_activation), case.dtype
    return keras.layers.Dense(case.K, activation, case.use_bias, dtype=dtype, name="dense" + name)(h)


# Inputs for a layer's initial states as Keras nests them; none unless the case has them.
def _nested_states(case: Case, number: int) -> list[Any]:
    nested: list[Any] = []
    directions = ("", "_backward") if case.bidirectional else ("",)
    after = "" if number == 1 else f"_{number}"
    for direction in directions if case.initial_state else ():
        for place, (kind, units) in enumerate(zip(case.cell_kinds, case.cell_units, strict=True)):
            cell = f"_{place}" if case.layer == "stacked" else ""
            shape = (*case.space_after(number), units)
            names = CELLS[_CLASSES[kind]].states
            states = [_input(case, f"{state}0{cell}{direction}{after}", shape) for state in names]
            nested += [states] if case.layer == "stacked" else states
    return nested


# Recurrent layer `number`, counted from 1 at the bottom, with its wrapper.
def _wrapped(case: Case, number: int) -> Any:
    import keras

    after = "" if number == 1 else f"_{number}"
    layer = _recurrent_layer(case, number, case.layer + after)
    if case.wrapper == "time_distributed":
        return keras.layers.TimeDistributed(layer, dtype=case.dtype, name="time_distributed" + after)
    if case.bidirectional:
        own = _recurrent_layer(case, number, f"backward_{case.layer}{after}", own=True) if case.own_backward else None
        merge_mode = None if case.merge_mode == "none" else case.merge_mode
        named = {"dtype": case.dtype, "name": "bidirectional" + after}
        return keras.layers.Bidirectional(layer, merge_mode, backward_layer=own, **named)
    return layer


# With `own`, the backward layer of a Bidirectional.
def _recurrent_layer(case: Case, number: int, name: str, *, own: bool = False) -> Any:
    import keras

    top = number == case.layers
    options = {
        "return_sequences": case.return_sequences or not top,
        "return_state": case.return_state and top,
        "go_backwards": case.go_backwards != own,  # Keras wants the two halves to differ in it
        "stateful": case.stateful,
        "unroll": case.unroll,
        "zero_output_for_mask": case.zero_output_for_mask,
        "dtype": case.dtype,
        "name": name,
    }
    activation = case.activation
    if own:
        activation = "softsign" if activation != "softsign" else "tanh"  # another one than the forward layer has
    kinds = list(zip(case.cell_kinds, case.cell_units, strict=True))
    # These are RNN around a cell or a list of cells; the others are layers of their own.
    if case.layer in {"rnn", "stacked"}:
        classes = {kind: getattr(keras.layers, _CLASSES[kind] + "Cell") for kind, _ in kinds}
        cells = [classes[k](units, dtype=case.dtype, **_cell_options(case, k, activation)) for k, units in kinds]
        if case.layer == "rnn":
            return keras.layers.RNN(cells[0], **options)
        # RNN would compute a list of cells in float32.
        whole = cells if case.dtype == "float32" else keras.layers.StackedRNNCells(cells, dtype=case.dtype)
        return keras.layers.RNN(whole, **options)
    ((kind, units),) = kinds
    if case.rank:
        options |= {"kernel_size": case.kernel_sizes, "strides": case.strides, "padding": case.padding}
        options["dilation_rate"] = case.dilation_rate
    layer_class = getattr(keras.layers, _CLASSES[case.layer])
    return layer_class(units, **_cell_options(case, kind, activation), **options)


# The options that a cell and its own layer share.
def _cell_options(case: Case, kind: str, activation: str) -> dict[str, Any]:
    options = {
        "activation": _activation(activation),
        "use_bias": case.use_bias,
        "recurrent_initializer": "orthogonal" if case.weights == "keras" else "zeros",  # no orthogonal in bfloat16
        "dropout": case.dropout,
        "recurrent_dropout": case.recurrent_dropout,
    }
    if kind != "simple_rnn":
        options["recurrent_activation"] = _activation(case.recurrent_activation)
    if kind == "lstm":
        options["unit_forget_bias"] = case.unit_forget_bias
    if kind == "gru":
        options["reset_after"] = case.reset_after
    return options


def _activation(name: str) -> Any:
    import keras

    function = keras.activations.get(name)
    return functools.partial(function, **THRESHOLD) if name == "threshold" else function


# Pre-activations of order 1, biases of order 0.3, recurrent kernels of a given norm.
def _set_random_weights(model: Any, case: Case, rng: np.random.Generator) -> None:
    recurrent_scale, input_scale = _scales(case)
    for weight in model.weights:
        name, shape = weight.path.rsplit("/", 1)[-1], tuple(weight.shape)
        if name == "recurrent_kernel":
            # (..., M, G·M), in which each of the G gates has orthonormal columns
            rows, units = math.prod(shape[:-1]), shape[-2]
            gates = [np.linalg.qr(rng.normal(size=(rows, units)))[0] for _ in range(shape[-1] // units)]
            value = recurrent_scale * np.concatenate(gates, axis=-1).reshape(shape)
        elif name.endswith("kernel"):
            value = input_scale * rng.normal(size=shape) / np.sqrt(math.prod(shape[:-1]))
        elif name in {"bias", "beta", "moving_mean"}:
            value = input_scale * rng.uniform(0.1, 0.5, size=shape) * rng.choice([-1.0, 1.0], size=shape)
        elif name in {"gamma", "moving_variance"}:
            value = rng.uniform(0.5, 1.5, size=shape)
        elif name == "embeddings":
            value = rng.normal(size=shape)
        else:  # the states that a stateful layer keeps
            continue
        weight.assign(value.astype(np.float32))  # Keras casts it to the weight's own precision


# The norm of the recurrent kernels, and the size of everything else.
def _scales(case: Case) -> tuple[float, float]:
    if {case.activation, case.recurrent_activation} & _STEEP:
        recurrent, other = 0.2 / np.sqrt(case.M), 0.3
    elif case.recurrent_activation in _UNBOUNDED:  # gates above 1 make the state grow from step to step
        recurrent, other = 0.3, 0.5
    elif case.activation in _UNBOUNDED:
        recurrent, other = 0.6, 1.0
    else:
        recurrent, other = 0.9, 1.0
    return (recurrent if case.recurrent_scale is None else case.recurrent_scale), other


# One array for each input of the model: the sequence, initial states, and a mask.
def _inputs(case: Case, model: Any, rng: np.random.Generator) -> tuple[Array, ...]:
    arrays = [rng.normal(size=(case.N, *case.outer, case.T, *case.space, *case.image, case.D)).astype(np.float32)]
    states = [(case.N, *each.shape[1:]) for each in model.inputs[1:] if each.name != "mask"]
    arrays += [rng.normal(size=shape).astype(np.float32) * np.float32(0.5) for shape in states]
    if case.mask == "none":
        return tuple(arrays)
    mask = make_mask(case.mask, case.N * math.prod(case.outer), case.T, rng).reshape(case.N, *case.outer, case.T)
    # Steps that do not count hold what the layer that makes the mask looks for.
    if case.mask_from == "masking":
        arrays[0][~mask] = MASK_VALUE
    elif case.mask_from == "embedding":
        arrays[0] = np.where(mask, rng.integers(1, VOCABULARY, size=mask.shape), 0).astype(np.int32)
    else:
        arrays.append(mask)
    return tuple(arrays)
