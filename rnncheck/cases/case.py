"""A Case: which model to build, with which inputs. Plain data, no framework."""

from __future__ import annotations

import inspect
import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import cycle, dropwhile, islice
from typing import Any

from rnncheck.cases.memory import check_memory
from rnncheck.cases.options import Option, Place, choice, flag, number, whole
from rnncheck.cases.rules import refused
from rnncheck.equations.activations import ACTIVATIONS
from rnncheck.errors import InputError

# Keras' dtype policies -> the precision that a layer with that policy computes in.
POLICIES = {
    name: name.removeprefix("mixed_")
    for name in ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
}

# Keras' aliases of activations.
ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}

MASKS = {
    "none": "no mask",
    "all": "every step counts",
    "right": "padding after a different length for each sample",
    "left": "padding before it",
    "both": "padding on both ends",
    "holes": "steps missing anywhere",
    "mixed": "holes, both ends, and one sample in which no step counts",
}

MASK_SOURCES = {
    "input": "the mask is an input of the model",
    "masking": "a Masking layer finds it in the inputs",
    "embedding": "an Embedding layer finds it in the ids, which are the inputs then",
}

# How many gates a cell's kernels hold side by side: (D, gates·M) and (M, gates·M).
GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}

# Along how many axes of space a convolutional layer runs.
RANKS = {"conv_lstm_1d": 1, "conv_lstm_2d": 2, "conv_lstm_3d": 3}

LAYERS = (*GATES, "rnn", "stacked", *RANKS)

WRAPPERS = {
    "none": "the layer alone",
    "bidirectional": "Bidirectional: a second layer takes the steps the other way",
    "time_distributed": "TimeDistributed: the layer runs for each of a few outer steps on its own",
}

FRONTS = {
    "none": "nothing",
    "conv1d": "Conv1D and MaxPooling1D over the steps",
    "separable_conv1d": "SeparableConv1D between padding and cropping, and GroupNormalization",
    "conv2d": "Conv2D, AveragePooling2D and Flatten for the image at each step",
    "depthwise_conv2d": "DepthwiseConv2D, UpSampling2D and MaxPooling2D for each image, with channels first",
    "separable_conv2d": "SeparableConv2D, UnitNormalization and GlobalAveragePooling2D for each image",
    "conv3d": "Conv3D and MaxPooling3D over the steps of images",
}

MERGE_MODES = ("concat", "sum", "mul", "ave", "none")

PADDINGS = ("valid", "same")

# How large the space of a convolutional layer's inputs is: different along each axis, so that swapped axes show.
SPACE = (6, 5, 3)

# How many outer steps TimeDistributed has: inputs are (N, 2, T, D).
OUTER_STEPS = 2

WEIGHTS = {
    "random": "random weights and biases, none of them zero",
    "keras": "Keras' default initialisers, as in the notebook: zero biases, which hide every bias fault",
}

# The sizes, in the order in which they are always named.
SIZES = ("N", "T", "D", "M", "K")

# Where options apply.
_STACKED = Place(lambda case: case.layer == "stacked", "layer=stacked")
_RNN = Place(lambda case: case.layer in {"rnn", "stacked"}, "layer=rnn or stacked")
_BIDIRECTIONAL = Place(lambda case: case.bidirectional, "wrapper=bidirectional")
_GATED = Place(lambda case: case.cell_kinds != ("simple_rnn",), "a layer with gates")
_LSTM = Place(lambda case: "lstm" in case.cell_kinds, "an LSTM")
_GRU = Place(lambda case: "gru" in case.cell_kinds, "a GRU")
_CONVOLUTION = Place(lambda case: case.rank > 0, "layer=conv_lstm_1d, 2d or 3d")
_FLAT = Place(
    lambda case: case.rank == 0 and case.wrapper != "time_distributed",
    "a layer without axes of space, outside TimeDistributed",
)
_MASKED = Place(lambda case: case.mask != "none", "a mask other than none")

_ACTIVATIONS = (*sorted(ACTIVATIONS), *ALIASES)


@dataclass(frozen=True)
class Case:
    """Input (T, D) -> recurrent layer (M) -> Dense (K), for N samples.

    The layer `rnn` is RNN(cell), and `stacked` is RNN([cells]): its lowest cell is `cell`, the others follow in the
    order of `GATES`, the highest has M units and each one below it one more. Of a convolutional layer, D are the
    channels and M the filters; its kernel is one longer along the second axis than along the others. A front of
    images reads D channels of each.
    """

    N: int = whole(4, "samples")
    T: int = whole(10, "steps")
    D: int = whole(3, "input features")
    M: int = whole(5, "hidden units")
    K: int = whole(2, "output units")
    layer: str = choice("simple_rnn", "recurrent layer", LAYERS)
    cell: str = choice("simple_rnn", "cell of rnn, lowest cell of stacked", GATES, _RNN)
    cells: int = whole(2, "cells of stacked", _STACKED)
    wrapper: str = choice("none", "what is around the layer", WRAPPERS)
    front: str = choice("none", "what stands in front of the recurrent layers", FRONTS, _FLAT)
    # With none, each of the two outputs has a Dense of its own.
    merge_mode: str = choice("concat", "how Bidirectional merges its two outputs", MERGE_MODES, _BIDIRECTIONAL)
    # The backward layer then has another activation.
    own_backward: bool = flag(False, "give Bidirectional a backward layer of its own", _BIDIRECTIONAL)
    layers: int = whole(1, "recurrent layers on top of each other")
    seed: int = whole(0, "seed for weights and inputs", least=0, most=2**32 - 1)  # as Keras takes
    dtype: str = choice("float32", "dtype policy", POLICIES)
    activation: str = choice("tanh", "activation of the recurrent layer, by Keras' name", _ACTIVATIONS)
    recurrent_activation: str = choice("sigmoid", "activation of its gates, by Keras' name", _ACTIVATIONS, _GATED)
    use_bias: bool = flag(True, "give both layers a bias")
    unit_forget_bias: bool = flag(True, "start an LSTM's forget gate at bias 1; it shows with weights=keras", _LSTM)
    reset_after: bool = flag(True, "reset a GRU's state after the product with the recurrent kernel", _GRU)
    kernel_size: int = whole(2, "size of a convolution along its first axis", _CONVOLUTION)
    strides: int = whole(1, "strides of a convolution, along every axis", _CONVOLUTION)
    padding: str = choice("valid", "padding of a convolution", PADDINGS, _CONVOLUTION)
    dilation_rate: int = whole(1, "dilation of a convolution, along every axis", _CONVOLUTION)
    return_sequences: bool = flag(False, "let Dense see every step, not only the last")
    return_state: bool = flag(False, "return the final states too")
    go_backwards: bool = flag(False, "take the steps last to first")
    stateful: bool = flag(False, "call twice, keeping the state")
    unroll: bool = flag(False, "let Keras unroll the loop")
    initial_state: bool = flag(False, "start from given states instead of zeros")
    mask: str = choice("none", "which steps count", MASKS)
    mask_from: str = choice("input", "where the mask comes from", MASK_SOURCES, _MASKED)
    zero_output_for_mask: bool = flag(False, "put out zero where a step does not count")
    dropout: float = number(0.0, "rate on the inputs, inactive at inference", most=1.0)
    recurrent_dropout: float = number(0.0, "rate on the states, inactive at inference", most=1.0)
    flatten: bool = flag(False, "put Flatten between the recurrent layer and Dense")
    dense_activation: str = choice("linear", "activation of Dense, by Keras' name", _ACTIVATIONS)
    weights: str = choice("random", "where weights come from", WEIGHTS)
    # None for a value at which the activation's states stay moderate.
    recurrent_scale: float | None = number(
        None, "largest singular value of each gate's recurrent kernel; chaotic above about 1.5"
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            if not option.accepts(getattr(self, name)):
                raise InputError(f"case: got {name}={getattr(self, name)!r}; expected {option.expected}.")
        # An option that would be ignored is refused, so that nobody believes that it was tried.
        for name, value in self.changed_options().items():
            place = OPTIONS[name].place
            if place is not None and not place.has(self):
                raise InputError(f"case: got {name}={value!r}; expected it only with {place.where}, which has it.")
        if refusal := refused(self):
            raise InputError(f"case: {refusal}")
        sizes = ", ".join(f"{size}={getattr(self, size)}" for size in SIZES)
        check_memory(f"case: got {sizes}, which needs about", self.bytes_needed)

    @property
    def cell_kinds(self) -> tuple[str, ...]:
        """The cells of one recurrent layer, the lowest first, by their names in `GATES`."""
        if self.layer in RANKS:
            return ("lstm",)
        if self.layer != "stacked":
            return (self.cell if self.layer == "rnn" else self.layer,)
        return tuple(islice(dropwhile(lambda kind: kind != self.cell, cycle(GATES)), self.cells))

    @property
    def cell_units(self) -> tuple[int, ...]:
        """How many units each of these cells has."""
        return tuple(self.M + above for above in reversed(range(len(self.cell_kinds))))

    @property
    def bidirectional(self) -> bool:
        """Whether two layers take the steps in both directions."""
        return self.wrapper == "bidirectional"

    @property
    def rank(self) -> int:
        """How many axes of space a convolutional layer has; 0 for any other layer."""
        return RANKS.get(self.layer, 0)

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """The size of a convolution's kernel along each axis of space, neighbours different."""
        return tuple(self.kernel_size + axis % 2 for axis in range(self.rank))

    @property
    def space(self) -> tuple[int, ...]:
        """The size of the inputs' space along each axis; empty unless the layer is convolutional."""
        return SPACE[: self.rank]

    @property
    def image(self) -> tuple[int, ...]:
        """The size of the image at each step; empty unless the front takes one."""
        return SPACE[:2] if self.front.endswith(("2d", "3d")) else ()

    @property
    def features(self) -> int:
        """How many features the lowest recurrent layer reads at a step, at most."""
        return self.D if self.front == "none" else 2 * self.D * math.prod(self.image)

    def space_after(self, layers: int) -> tuple[int, ...]:
        """The size of the space behind so many layers; a size below 1 where a kernel does not fit."""
        # A kernel covers one place, and `reach` more; "same" pads by as many.
        reach = [0 if self.padding == "same" else (size - 1) * self.dilation_rate for size in self.kernel_sizes]
        space = self.space
        for _ in range(layers):
            space = tuple((size - far - 1) // self.strides + 1 for size, far in zip(space, reach, strict=True))
        return space

    @property
    def outer(self) -> tuple[int, ...]:
        """The axis of the outer steps that TimeDistributed adds between N and T; empty without it."""
        return (OUTER_STEPS,) if self.wrapper == "time_distributed" else ()

    @property
    def width(self) -> int:
        """How many features a recurrent layer with its wrapper puts out: M, or 2M for both directions."""
        return 2 * self.M if self.bidirectional and self.merge_mode == "concat" else self.M

    @property
    def places(self) -> int:
        """At how many places of steps, outer steps and space the topmost recurrent layer puts something out."""
        steps = self.T if self.return_sequences else 1
        return steps * math.prod(self.outer) * math.prod(self.space_after(self.layers))

    @property
    def head_inputs(self) -> int:
        """How many features Dense reads: those of one place, or of all places behind Flatten."""
        return self.places * self.width if self.flatten else self.width

    @property
    def bytes_needed(self) -> int:
        """About how much memory building and checking the case takes."""
        # Without a merge, each direction has a Dense of its own.
        heads = 2 if self.bidirectional and self.merge_mode == "none" else 1
        weights = heads * self.K * (self.head_inputs + 1)
        # The inputs, gates and states of one step of one sample, and before them what windows read.
        arrays = 0 if self.front == "none" else 20 * self.features
        kernel = math.prod(self.kernel_sizes)
        biases = 2 if "gru" in self.cell_kinds and self.reset_after else 1
        for layer in range(self.layers):
            features = self.width if layer else self.features
            for kind, units in zip(self.cell_kinds, self.cell_units, strict=True):
                directions = 2 if self.bidirectional else 1
                weights += directions * GATES[kind] * units * (kernel * (features + units) + biases)
                arrays += directions * (features + (1 + GATES[kind]) * units)
                features = units
        arrays *= self.N * self.T * math.prod(self.outer) * math.prod(self.space)
        outputs = self.N * self.K * (1 if self.flatten else self.places)
        # Of 8 bytes each, in about as many copies as building and checking make.
        return 8 * (8 * weights + 3 * arrays + 4 * heads * outputs)

    def changed_options(self) -> dict[str, Any]:
        """Return the options that differ from the default, without layer, sizes and seed, in the fields' order."""
        options = (each for each in fields(self) if each.name not in {*SIZES, "layer", "seed"})
        return {each.name: value for each in options if (value := getattr(self, each.name)) != each.default}

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name."""
        return asdict(self)

    def __str__(self) -> str:
        sizes = [f"{size}{getattr(self, size)}" for size in SIZES]
        changed = self.changed_options().items()
        return " ".join(
            [self.layer, *sizes, *(name if value is True else f"{name}={value}" for name, value in changed)]
        )


# By name, in the order of the fields.
OPTIONS: Mapping[str, Option] = {each.name: each.metadata["option"] for each in fields(Case)}

# The help of each option is its documentation too.
Case.__doc__ = f"{inspect.getdoc(Case)}\n\nAttributes:\n" + "".join(
    f"    {name}: {option.help}.\n" for name, option in OPTIONS.items()
)


# The notebook's model, exactly.
NOTEBOOK = Case(N=1, T=10, D=3, M=5, K=2, weights="keras")


def reproduce_command(case: Case) -> str:
    """Return the command line that runs a case again."""
    words = ["rnncheck", "verify", "--layer", case.layer]
    for size in SIZES:
        words += [f"-{size}", str(getattr(case, size))]
    words += ["--seed", str(case.seed)]
    for name, value in case.changed_options().items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return shlex.join(words)
