"""The one table of Keras classes that rnncheck reads: what of each is checked, without effect, or refused.

To read a new layer class, enter it in `ENTRIES`; its equation goes to `layers.LAYERS` or `equations.CELLS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["model", "layer", "recurrent", "rnn", "cell", "stack", "bidirectional", "time_distributed"]

Masks = Literal[
    "pass",  # handed on
    "stop",  # dropped
    "recurrent",  # handed on with return_sequences
    "first",  # that of the first input is handed on
    "merge", "concatenate",  # those of all inputs are combined
    "zeros",  # made: ids that are not 0
    "values",  # made: steps that are not the mask value
]  # fmt: skip


@dataclass(frozen=True)
class Weight:
    """One weight of a layer."""

    name: str  # in Keras
    # Its axes in letters, such as "D, 4M"; options that are sizes by their own names, such as "kernel_size, C, F".
    # None where only the replay can tell.
    shape: str | None
    when: Mapping[str, Any] = field(default_factory=dict)  # the options that the layer has it with
    trainable: bool = True  # whether Keras ever trains it


@dataclass(frozen=True)
class Entry:
    """How one Keras class is read."""

    role: Role = "layer"  # wrappers, cells and RNN are lowered
    # Constructor arguments that change a number, and those that change none at inference.
    checked: tuple[str, ...] = ()
    same_numbers: tuple[str, ...] = ()
    refused: Mapping[str, Any] = field(default_factory=dict)  # those not replayed, with the only value accepted
    inherited: tuple[str, ...] = ()  # options that change a number and are no argument of the class itself
    parts: tuple[str, ...] = ()  # constructor arguments that are layers or cells
    defaults: Mapping[str, Any] = field(default_factory=dict)  # what an absent option means; old files omit some
    own_defaults: Mapping[str, Any] = field(default_factory=dict)  # what Keras 3 takes, where that differs
    weights: tuple[Weight, ...] = ()  # in the order in which Keras creates them
    call: tuple[str, ...] = ("inputs",)  # the arguments of its `call`, in order
    masks: Masks = "stop"  # what becomes of a mask

    @property
    def known(self) -> set[str]:
        """Every constructor argument that the entry has an opinion on."""
        return {*self.checked, *self.same_numbers, *self.refused, *self.inherited, *self.parts}


# What every layer may have in its description.
COMMON = frozenset({
    "name", "trainable", "dtype", "autocast", "batch_shape", "input_shape", "activity_regularizer", "registered_name",
})  # fmt: skip

_FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful")
_WINDOWS = ("kernel_size", "strides", "padding", "dilation_rate")
_STEPPING = {"strides": 1, "padding": "valid", "dilation_rate": 1}
_CHANNELS = {"data_format": "channels_last"}  # older files do not say it
# What the replay has no equations for: adapters and integer weights.
_NOT_QUANTISED = {"lora_rank": None, "lora_alpha": None, "quantization_config": None}
_BIAS = {"use_bias": True}


# The arguments that say how weights start, are regularised and constrained.
def _training_only(*weights: str) -> tuple[str, ...]:
    return tuple(f"{w}_{what}" for what in ("initializer", "regularizer", "constraint") for w in weights)


_OF_DENSE = (*_training_only("kernel", "bias"), "activity_regularizer")
_OF_A_CELL = (*_training_only("kernel", "recurrent", "bias"), "dropout", "recurrent_dropout", "seed")
# Layers with a cell of their own hand zero_output_for_mask on to RNN, whose argument it is.
_OF_AN_RNN: Mapping[str, Any] = {
    "refused": {"time_major": False, "num_constants": None},
    "inherited": ("zero_output_for_mask",),
    "call": ("sequences", "initial_state", "mask", "training"),
    "masks": "recurrent",
}
# What an RNN hands down to its cells' layers, and what an absent one means.
NO_FLAGS = {**dict.fromkeys(_FLAGS, False), "zero_output_for_mask": False}
_NORMALISATION = {"axis": -1, "epsilon": 1e-3, "center": True, "scale": True}
# Files without reset_after are older than this option; their GRU is the one that resets before the product.
_DEFAULTS = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "reset_after": False}


# The kernels (D, G·M) and (M, G·M) of a cell with G gates; those of a convolution have its window before.
def _gates(count: int, size: str = "M", before: str = "") -> tuple[Weight, Weight]:
    gates = f"{count if count > 1 else ''}{size}"
    return Weight("kernel", f"{before}D, {gates}"), Weight("recurrent_kernel", f"{before}{size}, {gates}")


# The options of each cell that change a number, and its weights.
_CELLS: Mapping[str, tuple[tuple[str, ...], tuple[Weight, ...]]] = {
    "SimpleRNN": (("units", "activation", "use_bias"), (*_gates(1), Weight("bias", "M", _BIAS))),
    "LSTM": (("units", "activation", "recurrent_activation", "use_bias"), (*_gates(4), Weight("bias", "4M", _BIAS))),
    "GRU": (
        ("units", "activation", "recurrent_activation", "use_bias", "reset_after"),
        (
            *_gates(3),
            Weight("bias", "2, 3M", {"use_bias": True, "reset_after": True}),
            Weight("bias", "3M", {"use_bias": True, "reset_after": False}),
        ),
    ),
    "ConvLSTM": (
        ("filters", *_WINDOWS, "activation", "recurrent_activation", "use_bias"),
        (*_gates(4, "F", "kernel_size, "), Weight("bias", "4F", _BIAS)),
    ),
}  # fmt: skip


def _cell(kind: str) -> Entry:
    checked, weights = _CELLS[kind]
    same_numbers = (*_OF_A_CELL, *(["unit_forget_bias"] if "LSTM" in kind else []))
    call = ("inputs", "states", "training")
    own = {"GRU": {"reset_after": True}}.get(kind, _STEPPING if kind == "ConvLSTM" else {})
    return Entry("cell", checked, same_numbers, defaults=_DEFAULTS, own_defaults=own, weights=weights, call=call)


def _recurrent(kind: str) -> Entry:
    cell, convolution = _cell(kind), kind == "ConvLSTM"
    others = ("activity_regularizer", *([] if convolution else ["use_cudnn"]))
    refused = {**(_CHANNELS if convolution else {}), **_OF_AN_RNN["refused"]}
    return replace(
        cell,
        role="recurrent",
        checked=(*cell.checked, *_FLAGS),
        same_numbers=("unroll", *cell.same_numbers, *others),
        defaults={**_DEFAULTS, **NO_FLAGS},
        **{**_OF_AN_RNN, "refused": refused},
    )


# A class for each number of axes of space.
def _ranks(kind: str, entry: Entry, most: int = 3) -> Mapping[str, Entry]:
    return {kind.format(rank): entry for rank in range(1, most + 1)}


def _convolution(own: tuple[str, ...], trained: tuple[str, ...], *weights: Weight) -> Entry:
    return Entry(
        checked=(*own, *_WINDOWS, "data_format", "activation", "use_bias"),
        same_numbers=(*_training_only(*trained), "activity_regularizer"),
        defaults={**_CHANNELS, **_BIAS, "groups": 1, "depth_multiplier": 1},
        own_defaults={**_STEPPING, "activation": "linear"},
        weights=weights,
    )


def _around(option: str, default: int) -> Entry:
    return Entry(checked=(option, "data_format"), defaults=_CHANNELS, own_defaults={option: default})


_POOLING = Entry(
    checked=("pool_size", "strides", "padding", "data_format"),
    same_numbers=("name",),
    defaults=_CHANNELS,
    own_defaults={"pool_size": 2, "padding": "valid"},
)
_GLOBAL_POOLING = Entry(checked=("keepdims", "data_format"), defaults={**_CHANNELS, "keepdims": False})
_OF_DROPOUT: Mapping[str, Any] = {"call": ("inputs", "training"), "masks": "pass"}

ENTRIES: Mapping[str, Entry] = {
    "SimpleRNN": _recurrent("SimpleRNN"),
    "LSTM": _recurrent("LSTM"),
    "GRU": _recurrent("GRU"),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _recurrent("ConvLSTM")),
    "RNN": Entry("rnn", _FLAGS, ("unroll",), parts=("cell",), defaults=NO_FLAGS, **_OF_AN_RNN),
    "SimpleRNNCell": _cell("SimpleRNN"),
    "LSTMCell": _cell("LSTM"),
    "GRUCell": _cell("GRU"),
    "StackedRNNCells": Entry(
        "stack", parts=("cells",), refused={"reverse_state_order": False}, call=("inputs", "states", "training")
    ),
    "Bidirectional": Entry(
        "bidirectional", checked=("merge_mode",), same_numbers=("weights",), parts=("layer", "backward_layer"),
        defaults={"merge_mode": "concat"}, refused={"num_constants": None},
        call=("sequences", "initial_state", "mask", "training"), masks="recurrent",
    ),
    "TimeDistributed": Entry("time_distributed", parts=("layer",), call=("inputs", "training", "mask"), masks="pass"),
    "Dense": Entry(
        checked=("units", "activation", "use_bias"), same_numbers=_OF_DENSE, refused=_NOT_QUANTISED,
        defaults=_BIAS, own_defaults={"activation": "linear"},
        weights=(Weight("kernel", "D, M"), Weight("bias", "M", _BIAS)),
        call=("inputs", "training"), masks="pass",
    ),
    "Flatten": Entry(checked=("data_format",), defaults=_CHANNELS),
    "Reshape": Entry(checked=("target_shape",)),
    "Permute": Entry(checked=("dims",)),
    "RepeatVector": Entry(checked=("n",)),
    "Activation": Entry(checked=("activation",), masks="pass"),
    "ReLU": Entry(
        checked=("max_value", "negative_slope", "threshold"), masks="pass",
        defaults={"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    ),
    "LeakyReLU": Entry(checked=("negative_slope",), defaults={"negative_slope": 0.3}, masks="pass"),
    "PReLU": Entry(
        checked=("shared_axes",), same_numbers=_training_only("alpha"), defaults={"shared_axes": None},
        weights=(Weight("alpha", None),), masks="pass",
    ),
    "ELU": Entry(checked=("alpha",), defaults={"alpha": 1.0}, masks="pass"),
    "Softmax": Entry(checked=("axis",), defaults={"axis": -1}, call=("inputs", "mask"), masks="pass"),
    "Embedding": Entry(
        checked=("input_dim", "output_dim", "mask_zero"), same_numbers=(*_training_only("embeddings"), "weights"),
        refused={**_NOT_QUANTISED, "sparse": False}, defaults={"mask_zero": False},
        weights=(Weight("embeddings", "input_dim, output_dim"),), masks="zeros",
    ),
    "Masking": Entry(checked=("mask_value",), defaults={"mask_value": 0.0}, masks="values"),
    # Layers that do nothing at inference.
    **dict.fromkeys(
        (*(f"SpatialDropout{rank}D" for rank in (1, 2, 3)), "Dropout", "AlphaDropout", "GaussianDropout"),
        Entry(same_numbers=("rate", "noise_shape", "data_format", "name", "dtype", "seed"), **_OF_DROPOUT),
    ),
    "GaussianNoise": Entry(same_numbers=("stddev", "seed"), **_OF_DROPOUT),
    "ActivityRegularization": Entry(same_numbers=("l1", "l2"), masks="pass"),
    "Identity": Entry(masks="pass"),
    "LayerNormalization": Entry(
        checked=("axis", "epsilon", "center", "scale"), same_numbers=_training_only("beta", "gamma"),
        # Deprecated: Keras takes it among **kwargs, and scales by the variance with it.
        inherited=("rms_scaling",), defaults={**_NORMALISATION, "rms_scaling": False},
        weights=(Weight("gamma", None, {"scale": True}), Weight("beta", None, {"center": True})), masks="pass",
    ),
    "BatchNormalization": Entry(
        checked=("axis", "epsilon", "center", "scale"),
        same_numbers=(
            *_training_only("beta", "gamma"), "moving_mean_initializer", "moving_variance_initializer", "momentum",
            "synchronized", "renorm_clipping", "renorm_momentum",
        ),
        refused={"renorm": False, "virtual_batch_size": None, "adjustment": None},
        defaults=_NORMALISATION,
        weights=(
            Weight("gamma", "C", {"scale": True}),
            Weight("beta", "C", {"center": True}),
            Weight("moving_mean", "C", trainable=False),
            Weight("moving_variance", "C", trainable=False),
        ),
        call=("inputs", "training", "mask"), masks="pass",
    ),
    "GroupNormalization": Entry(
        checked=("groups", "axis", "epsilon", "center", "scale"), same_numbers=_training_only("beta", "gamma"),
        defaults={**_NORMALISATION, "groups": 32},
        weights=(Weight("gamma", "C", {"scale": True}), Weight("beta", "C", {"center": True})), masks="pass",
    ),
    "UnitNormalization": Entry(checked=("axis",), defaults={"axis": -1}, masks="pass"),
    **_ranks("Conv{}D", _convolution(
        ("filters", "groups"), ("kernel", "bias"), Weight("kernel", "kernel_size, C, F"), Weight("bias", "F", _BIAS)
    )),
    **_ranks("DepthwiseConv{}D", _convolution(
        ("depth_multiplier",), ("depthwise", "bias"), Weight("kernel", "kernel_size, C, depth_multiplier"),
        Weight("bias", None, _BIAS),
    ), 2),
    **_ranks("SeparableConv{}D", _convolution(
        ("filters", "depth_multiplier"), ("depthwise", "pointwise", "bias"),
        Weight("depthwise_kernel", "kernel_size, C, depth_multiplier"), Weight("pointwise_kernel", None),
        Weight("bias", "F", _BIAS),
    ), 2),
    **_ranks("MaxPooling{}D", _POOLING),
    **_ranks("AveragePooling{}D", _POOLING),
    **_ranks("GlobalMaxPooling{}D", _GLOBAL_POOLING),
    **_ranks("GlobalAveragePooling{}D", _GLOBAL_POOLING),
    "GlobalAveragePooling1D": replace(_GLOBAL_POOLING, call=("inputs", "mask")),
    **_ranks("ZeroPadding{}D", _around("padding", 1)),
    "Cropping1D": Entry(checked=("cropping",), own_defaults={"cropping": 1}),
    "Cropping2D": _around("cropping", 0),
    "Cropping3D": _around("cropping", 1),
    "UpSampling1D": Entry(checked=("size",), own_defaults={"size": 2}),
    "UpSampling2D": replace(_around("size", 2), refused={"interpolation": "nearest"}),
    "UpSampling3D": _around("size", 2),
    "Concatenate": Entry(checked=("axis",), defaults={"axis": -1}, masks="concatenate"),
    # Layers that read several tensors.
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), Entry(masks="merge")),
    "Dot": Entry(checked=("axes", "normalize"), defaults={"normalize": False}),
    "Attention": Entry(
        checked=("use_scale", "score_mode"), same_numbers=("dropout", "seed"), refused={"causal": False},
        defaults={"use_scale": False, "score_mode": "dot"},
        own_defaults={"use_causal_mask": False, "masks": ()},  # of its call; see Lowering
        weights=(
            Weight("scale", "", {"use_scale": True}), Weight("concat_score_weight", "", {"score_mode": "concat"}),
        ),
        call=("inputs", "mask", "training", "return_attention_scores", "use_causal_mask"), masks="first",
    ),
}  # fmt: skip

# What Keras takes for the name of a class besides its own.
OTHER_NAMES: Mapping[str, str] = {
    f"{other}{rank}D": f"{own}{rank}D"
    for rank in (1, 2, 3)
    for other, own in (
        ("Convolution", "Conv"), ("SeparableConvolution", "SeparableConv"), ("MaxPool", "MaxPooling"),
        ("AvgPool", "AveragePooling"), ("GlobalMaxPool", "GlobalMaxPooling"),
        ("GlobalAvgPool", "GlobalAveragePooling"),
    )
}  # fmt: skip

MODELS: Mapping[str, Entry] = dict.fromkeys(
    ("Functional", "Sequential", "Model"), Entry("model", call=("inputs", "training", "mask"))
)

# Operations that Keras 3 records where it computes masks, with the options that each takes from its description:
# the only value accepted, or None where any is.
OPERATIONS: Mapping[str, Mapping[str, Any]] = {
    "NotEqual": {}, "LogicalAnd": {}, "LogicalOr": {}, "ZerosLike": {}, "OnesLike": {}, "ConvertToTensor": {},
    "Any": {"axis": -1, "keepdims": False},
    "All": {"axis": -1, "keepdims": False},
    "ExpandDims": {"axis": None},
    "Concatenate": {"axis": None},
    "Cast": {"dtype": None},
}  # fmt: skip


def keras_defaults(kind: str) -> Mapping[str, Any]:
    """Return what Keras 3 takes for the options of a kind of layer that nobody gives."""
    entry = ENTRIES.get(kind, Entry())
    return {**entry.defaults, **entry.own_defaults}
