"""The one table of Keras classes that rnncheck reads: what of each is checked, without effect, or refused.

To read a new layer class, enter it in `ENTRIES`; its equation goes to `layers.LAYERS` or `equations.CELLS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["model", "layer", "recurrent", "rnn", "cell", "stack", "bidirectional", "time_distributed"]

Masks = Literal["pass", "stop", "zeros", "values", "recurrent", "merge", "concatenate", "first"]


@dataclass(frozen=True)
class Weight:
    """One weight of a layer.

    Attributes:
        name: its name in Keras.
        shape: its axes in letters, such as "D, 4M"; `options` of sizes stand by their own names, such as
            "kernel_size, C, F". None where only the replay can tell.
        when: the options that the layer has it with.
        trainable: whether Keras ever trains it.
    """

    name: str
    shape: str | None
    when: Mapping[str, Any] = field(default_factory=dict)
    trainable: bool = True


@dataclass(frozen=True)
class Entry:
    """How one Keras class is read.

    Attributes:
        role: what it is to the reader; wrappers, cells and RNN are lowered.
        checked: constructor arguments that change a number; read from the description by these names.
        same_numbers: constructor arguments that change how, not what, a layer computes at inference.
        refused: constructor arguments that rnncheck does not replay, with the only value it accepts.
        inherited: options that no constructor argument names, checked all the same.
        parts: constructor arguments that are layers or cells of their own.
        defaults: what an absent option means; old files omit some.
        weights: in the order in which Keras creates them.
        call: the arguments of its `call`, in order.
        masks: what becomes of a mask: "pass" it on, "stop" it, make one of ids that are not "zeros" or of "values"
            that are not the mask value, "recurrent" passes it on with return_sequences, "merge" and "concatenate"
            combine the inputs' masks, "first" passes the first input's on.
    """

    role: Role = "layer"
    checked: tuple[str, ...] = ()
    same_numbers: tuple[str, ...] = ()
    refused: Mapping[str, Any] = field(default_factory=dict)
    inherited: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[Weight, ...] = ()
    call: tuple[str, ...] = ("inputs",)
    masks: Masks = "stop"

    @property
    def known(self) -> set[str]:
        """Every constructor argument that the entry has an opinion on."""
        return {*self.checked, *self.same_numbers, *self.refused, *self.inherited, *self.parts}


# What every layer may have in its description.
COMMON = frozenset({
    "name", "trainable", "dtype", "autocast", "batch_shape", "input_shape", "activity_regularizer", "registered_name",
})  # fmt: skip

_RECURRENT_CALL = ("sequences", "initial_state", "mask", "training")

_FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful")

_NO_FLAGS = {**dict.fromkeys(_FLAGS, False), "zero_output_for_mask": False}

_OLD_RNN = {"time_major": False, "num_constants": None}

_CHANNELS = {"data_format": "channels_last"}

_NOT_QUANTISED = {"lora_rank": None, "lora_alpha": None, "quantization_config": None}


def _training_only(*weights: str) -> tuple[str, ...]:
    """Return the arguments that say how weights start, are regularised and constrained."""
    return tuple(f"{w}_{what}" for what in ("initializer", "regularizer", "constraint") for w in weights)


_OF_A_CELL = (*_training_only("kernel", "recurrent", "bias"), "dropout", "recurrent_dropout", "seed")

_CONVOLUTION = ("filters", "kernel_size", "strides", "padding", "dilation_rate")

_OF_DENSE = _training_only("kernel", "bias")


def _gates(count: int, size: str = "M", before: str = "") -> tuple[Weight, Weight]:
    gates = f"{count if count > 1 else ''}{size}"
    return Weight("kernel", f"{before}D, {gates}"), Weight("recurrent_kernel", f"{before}{size}, {gates}")


_BIAS = {"use_bias": True}

_SIMPLE_RNN = (*_gates(1), Weight("bias", "M", _BIAS))

_LSTM = (*_gates(4), Weight("bias", "4M", _BIAS))

_GRU = (
    *_gates(3),
    Weight("bias", "2, 3M", {"use_bias": True, "reset_after": True}),
    Weight("bias", "3M", {"use_bias": True, "reset_after": False}),
)

_CELLS: Mapping[str, Mapping[str, Any]] = {
    "SimpleRNN": {
        "checked": ("units", "activation", "use_bias"),
        "same_numbers": _OF_A_CELL,
        "defaults": {"activation": "tanh", "use_bias": True},
        "weights": _SIMPLE_RNN,
    },
    "LSTM": {
        "checked": ("units", "activation", "recurrent_activation", "use_bias"),
        "same_numbers": (*_OF_A_CELL, "unit_forget_bias"),
        "defaults": {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True},
        "weights": _LSTM,
    },
    "GRU": {
        "checked": ("units", "activation", "recurrent_activation", "use_bias", "reset_after"),
        "same_numbers": _OF_A_CELL,
        "defaults": {
            "activation": "tanh",
            "recurrent_activation": "sigmoid",
            "use_bias": True,
            "reset_after": False,
        },
        "weights": _GRU,
    },
}


def _cell(kind: str) -> Entry:
    return Entry(role="cell", call=("inputs", "states", "training"), **_CELLS[kind])


def _recurrent(kind: str) -> Entry:
    cell = _CELLS[kind]
    return Entry(
        role="recurrent",
        checked=(*cell["checked"], *_FLAGS),
        same_numbers=("unroll", *cell["same_numbers"], "activity_regularizer", "use_cudnn"),
        refused=_OLD_RNN,
        inherited=("zero_output_for_mask",),
        defaults={**cell["defaults"], **_NO_FLAGS},
        weights=cell["weights"],
        call=_RECURRENT_CALL,
        masks="recurrent",
    )


def _conv_lstm() -> Entry:
    return Entry(
        role="recurrent",
        checked=(
            *_CONVOLUTION,
            "activation",
            "recurrent_activation",
            "use_bias",
            *_FLAGS,
        ),
        same_numbers=("unroll", *_OF_A_CELL, "unit_forget_bias", "activity_regularizer"),
        refused={**_CHANNELS, **_OLD_RNN},
        inherited=("zero_output_for_mask",),
        defaults={"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, **_NO_FLAGS},
        weights=(*_gates(4, "F", "kernel_size, "), Weight("bias", "4F", _BIAS)),
        call=_RECURRENT_CALL,
        masks="recurrent",
    )


def _dropout(*same_numbers: str) -> Entry:
    return Entry(same_numbers=(*same_numbers, "seed"), call=("inputs", "training"), masks="pass")


def _pooling() -> Entry:
    return Entry(checked=("pool_size", "strides", "padding"), same_numbers=("name",), refused=_CHANNELS)


_MERGE = Entry(masks="merge")


ENTRIES: Mapping[str, Entry] = {
    "SimpleRNN": _recurrent("SimpleRNN"),
    "LSTM": _recurrent("LSTM"),
    "GRU": _recurrent("GRU"),
    "ConvLSTM1D": _conv_lstm(),
    "ConvLSTM2D": _conv_lstm(),
    "ConvLSTM3D": _conv_lstm(),
    "RNN": Entry(
        role="rnn",
        checked=_FLAGS,
        same_numbers=("unroll",),
        refused=_OLD_RNN,
        inherited=("zero_output_for_mask",),
        parts=("cell",),
        defaults=_NO_FLAGS,
        call=_RECURRENT_CALL,
        masks="recurrent",
    ),
    "SimpleRNNCell": _cell("SimpleRNN"),
    "LSTMCell": _cell("LSTM"),
    "GRUCell": _cell("GRU"),
    "StackedRNNCells": Entry(
        role="stack", parts=("cells",), refused={"reverse_state_order": False}, call=("inputs", "states", "training")
    ),
    "Bidirectional": Entry(
        role="bidirectional",
        checked=("merge_mode",),
        same_numbers=("weights",),
        parts=("layer", "backward_layer"),
        defaults={"merge_mode": "concat"},
        refused={"num_constants": None},
        call=_RECURRENT_CALL,
        masks="recurrent",
    ),
    "TimeDistributed": Entry(
        role="time_distributed", parts=("layer",), call=("inputs", "training", "mask"), masks="pass"
    ),
    "Dense": Entry(
        checked=("units", "activation", "use_bias"),
        same_numbers=(*_OF_DENSE, "activity_regularizer"),
        refused=_NOT_QUANTISED,
        defaults={"use_bias": True},
        weights=(Weight("kernel", "D, M"), Weight("bias", "M", _BIAS)),
        call=("inputs", "training"),
        masks="pass",
    ),
    "Flatten": Entry(refused=_CHANNELS),
    "Reshape": Entry(checked=("target_shape",)),
    "Permute": Entry(checked=("dims",)),
    "RepeatVector": Entry(checked=("n",)),
    "Activation": Entry(checked=("activation",), masks="pass"),
    "ReLU": Entry(
        checked=("max_value", "negative_slope", "threshold"),
        defaults={"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
        masks="pass",
    ),
    "LeakyReLU": Entry(checked=("negative_slope",), defaults={"negative_slope": 0.3}, masks="pass"),
    "PReLU": Entry(
        checked=("shared_axes",),
        same_numbers=_training_only("alpha"),
        defaults={"shared_axes": None},
        weights=(Weight("alpha", None),),
        masks="pass",
    ),
    "ELU": Entry(checked=("alpha",), defaults={"alpha": 1.0}, masks="pass"),
    "Softmax": Entry(checked=("axis",), defaults={"axis": -1}, call=("inputs", "mask"), masks="pass"),
    "Embedding": Entry(
        checked=("input_dim", "output_dim", "mask_zero"),
        same_numbers=(*_training_only("embeddings"), "weights"),
        refused={**_NOT_QUANTISED, "sparse": False},
        defaults={"mask_zero": False},
        weights=(Weight("embeddings", "input_dim, output_dim"),),
        masks="zeros",
    ),
    "Masking": Entry(checked=("mask_value",), defaults={"mask_value": 0.0}, masks="values"),
    "Dropout": _dropout("rate", "noise_shape"),
    "SpatialDropout1D": _dropout("rate", "noise_shape", "name", "dtype"),
    "SpatialDropout2D": _dropout("rate", "noise_shape", "name", "dtype", "data_format"),
    "SpatialDropout3D": _dropout("rate", "noise_shape", "name", "dtype", "data_format"),
    "GaussianDropout": _dropout("rate"),
    "GaussianNoise": _dropout("stddev"),
    "AlphaDropout": _dropout("rate", "noise_shape"),
    "ActivityRegularization": Entry(same_numbers=("l1", "l2"), masks="pass"),
    "Identity": Entry(masks="pass"),
    "LayerNormalization": Entry(
        checked=("axis", "epsilon", "center", "scale"),
        same_numbers=_training_only("beta", "gamma"),
        inherited=("rms_scaling",),
        defaults={"axis": -1, "epsilon": 1e-3, "center": True, "scale": True, "rms_scaling": False},
        weights=(Weight("gamma", None, {"scale": True}), Weight("beta", None, {"center": True})),
        masks="pass",
    ),
    "BatchNormalization": Entry(
        checked=("axis", "epsilon", "center", "scale"),
        same_numbers=(
            *_training_only("beta", "gamma"),
            "moving_mean_initializer",
            "moving_variance_initializer",
            "momentum",
            "synchronized",
            "renorm_clipping",
            "renorm_momentum",
        ),
        refused={"renorm": False, "virtual_batch_size": None, "adjustment": None},
        defaults={"axis": -1, "epsilon": 1e-3, "center": True, "scale": True},
        weights=(
            Weight("gamma", "C", {"scale": True}),
            Weight("beta", "C", {"center": True}),
            Weight("moving_mean", "C", trainable=False),
            Weight("moving_variance", "C", trainable=False),
        ),
        call=("inputs", "training", "mask"),
        masks="pass",
    ),
    "Conv1D": Entry(
        checked=(
            *_CONVOLUTION,
            "groups",
            "activation",
            "use_bias",
        ),
        same_numbers=(*_OF_DENSE, "activity_regularizer"),
        refused=_CHANNELS,
        defaults={"groups": 1, "use_bias": True},
        weights=(Weight("kernel", "kernel_size, C, F"), Weight("bias", "F", _BIAS)),
    ),
    "MaxPooling1D": _pooling(),
    "AveragePooling1D": _pooling(),
    "GlobalMaxPooling1D": Entry(checked=("keepdims",), refused=_CHANNELS, defaults={"keepdims": False}),
    "GlobalAveragePooling1D": Entry(
        checked=("keepdims",), refused=_CHANNELS, defaults={"keepdims": False}, call=("inputs", "mask")
    ),
    "Concatenate": Entry(checked=("axis",), defaults={"axis": -1}, masks="concatenate"),
    "Add": _MERGE,
    "Subtract": _MERGE,
    "Multiply": _MERGE,
    "Average": _MERGE,
    "Maximum": _MERGE,
    "Minimum": _MERGE,
    "Dot": Entry(checked=("axes", "normalize"), defaults={"normalize": False}),
    "Attention": Entry(
        checked=("use_scale", "score_mode"),
        same_numbers=("dropout", "seed"),
        refused={"causal": False},
        defaults={"use_scale": False, "score_mode": "dot"},
        weights=(
            Weight("scale", "", {"use_scale": True}),
            Weight("concat_score_weight", "", {"score_mode": "concat"}),
        ),
        call=("inputs", "mask", "training", "return_attention_scores", "use_causal_mask"),
        masks="first",
    ),
}


_MODEL = Entry(role="model", call=("inputs", "training", "mask"))

MODELS: Mapping[str, Entry] = {"Functional": _MODEL, "Sequential": _MODEL, "Model": _MODEL}

# Operations that Keras 3 records where it computes masks, with the options that each takes from its description.
OPERATIONS: Mapping[str, Mapping[str, Any]] = {
    "NotEqual": {},
    "Any": {"axis": -1, "keepdims": False},
    "All": {"axis": -1, "keepdims": False},
    "LogicalAnd": {},
    "LogicalOr": {},
    "ExpandDims": {"axis": None},
    "ZerosLike": {},
    "OnesLike": {},
    "Concatenate": {"axis": None},
    "ConvertToTensor": {},
    "Cast": {"dtype": None},
}
