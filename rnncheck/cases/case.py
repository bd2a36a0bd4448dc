"""A Case: which model to build, with which inputs. Plain data, no framework."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rnncheck.cases.memory import half_of_memory, readable_bytes
from rnncheck.cases.rules import RULES, misplaced
from rnncheck.equations.activations import ACTIVATIONS
from rnncheck.errors import InputError

# Keras' dtype policies -> the precision that a layer with that policy computes in.
POLICIES = {
    "float32": "float32",
    "float64": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "mixed_float16": "float16",
    "mixed_bfloat16": "bfloat16",
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


# Cells -> how many gates their kernels hold side by side, and what their states are called.
GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}


STATES = {"simple_rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}


# Convolutional layers -> along how many axes of space.
RANKS = {"conv_lstm_1d": 1, "conv_lstm_2d": 2, "conv_lstm_3d": 3}


LAYERS = (*GATES, "rnn", "stacked", *RANKS)


WRAPPERS = {
    "none": "the layer alone",
    "bidirectional": "Bidirectional: a second layer takes the steps the other way",
    "time_distributed": "TimeDistributed: the layer runs for each of a few outer steps on its own",
}


MERGE_MODES = ("concat", "sum", "mul", "ave", "none")


PADDINGS = ("valid", "same")


# How large the space of a convolutional layer's inputs is, and how many outer steps TimeDistributed has.
SPACE = (6, 5, 3)


OUTER_STEPS = 2


WEIGHTS = {
    "random": "random weights and biases, none of them zero",
    "keras": "Keras' default initialisers, as in the notebook: zero biases, which hide every bias fault",
}


# The options of a case that are on or off.
FLAGS = (
    "own_backward",
    "use_bias",
    "unit_forget_bias",
    "reset_after",
    "return_sequences",
    "return_state",
    "go_backwards",
    "stateful",
    "unroll",
    "initial_state",
    "zero_output_for_mask",
    "flatten",
)


SIZES = ("N", "T", "D", "M", "K")


# The other whole numbers of a case.
COUNTS = ("cells", "layers", "kernel_size", "strides", "dilation_rate")


@dataclass(frozen=True)
class Case:
    """Input (T, D) -> recurrent layer (M) -> Dense (K), for N samples.

    Attributes:
        N: samples.
        T: steps.
        D: input features; the channels of a convolutional layer.
        M: hidden units; the filters of a convolutional layer.
        K: output units.
        layer: the recurrent layer, one of `LAYERS`: a cell's own layer, `rnn` for RNN(cell), `stacked` for
            RNN([cells]), or a convolutional one.
        cell: the cell of `rnn`; the lowest cell of `stacked`, above which the others follow in the order of `GATES`.
        cells: how many cells `stacked` has. The highest has M units, each one below it one more.
        wrapper: what stands around the layer, one of `WRAPPERS`.
        merge_mode: how Bidirectional puts its two outputs together; with `none` each has a Dense of its own.
        own_backward: whether Bidirectional is given its backward layer, one with another activation.
        layers: how many such layers stand on top of each other.
        seed: of weights and inputs.
        dtype: a Keras dtype policy.
        activation: of the recurrent layer, by Keras' name.
        recurrent_activation: of its gates, by Keras' name.
        use_bias: whether both layers have a bias.
        unit_forget_bias: whether Keras starts the forget gate's bias at 1; shows with `weights="keras"` only.
        reset_after: whether a GRU resets the state after multiplying it with the recurrent kernel.
        kernel_size: of a convolution along its first and third axis; one more along its second.
        strides: of a convolution, along every axis.
        padding: of a convolution, one of `PADDINGS`.
        dilation_rate: of a convolution, along every axis.
        return_sequences: whether Dense sees every step; else it sees the last.
        return_state: whether the model also returns the final states.
        go_backwards: whether the layer takes the steps last to first.
        stateful: whether a second call goes on from where the first one ended; two calls are made.
        unroll: whether Keras builds the steps one by one instead of a loop.
        initial_state: whether the states start from inputs instead of zero.
        mask: which steps count, one of `MASKS`.
        mask_from: where the mask comes from, one of `MASK_SOURCES`.
        zero_output_for_mask: whether the output is zero where a step does not count.
        dropout: rate on the inputs; inactive at inference.
        recurrent_dropout: rate on the states; inactive at inference.
        flatten: whether Flatten stands between the recurrent layer and Dense.
        dense_activation: of Dense, by Keras' name.
        weights: where the weights come from, one of `WEIGHTS`.
        recurrent_scale: the largest singular value of each gate's recurrent kernel; above about 1.5 a SimpleRNN's run
            is chaotic. None for a value at which the activation's states stay moderate.
    """

    N: int = 4
    T: int = 10
    D: int = 3
    M: int = 5
    K: int = 2
    layer: str = "simple_rnn"
    cell: str = "simple_rnn"
    cells: int = 2
    wrapper: str = "none"
    merge_mode: str = "concat"
    own_backward: bool = False
    layers: int = 1
    seed: int = 0
    dtype: str = "float32"
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    use_bias: bool = True
    unit_forget_bias: bool = True
    reset_after: bool = True
    kernel_size: int = 2
    strides: int = 1
    padding: str = "valid"
    dilation_rate: int = 1
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    initial_state: bool = False
    mask: str = "none"
    mask_from: str = "input"
    zero_output_for_mask: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    flatten: bool = False
    dense_activation: str = "linear"
    weights: str = "random"
    recurrent_scale: float | None = None

    def __post_init__(self) -> None:
        for size in (*SIZES, *COUNTS):
            _check_size(size, getattr(self, size))
        for option, choices in _CHOICES.items():
            _check_choice(option, getattr(self, option), choices)
        for flag in FLAGS:
            _check_choice(flag, getattr(self, flag), (False, True))
        self._check_numbers()
        self._check_combinations()
        self._check_memory()

    def _check_numbers(self) -> None:
        """Refuse numbers that are out of range."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise InputError(
                f"case: seed={self.seed!r} came; expected a whole number from 0 to 2^32 - 1, as Keras takes."
            )
        for rate in ("dropout", "recurrent_dropout"):
            if not 0.0 <= getattr(self, rate) <= 1.0:
                raise InputError(f"case: {rate}={getattr(self, rate)!r} came; expected a number from 0 to 1.")
        if self.recurrent_scale is not None and not 0.0 <= self.recurrent_scale < math.inf:
            raise InputError(
                f"case: recurrent_scale={self.recurrent_scale!r} came; expected a finite number from 0 up."
            )

    def _check_combinations(self) -> None:
        """Refuse options that exclude each other, or that nothing in the case has."""
        for message in (*misplaced(self, self.changed_options()), *(rule.message(self) for rule in RULES)):
            if message:
                raise InputError(f"case: {message}")

    @property
    def cell_kinds(self) -> tuple[str, ...]:
        """The cells of one recurrent layer, the lowest first, by their names in `GATES`."""
        if self.layer in RANKS:
            return ("lstm",)
        if self.layer != "stacked":
            return (self.cell if self.layer == "rnn" else self.layer,)
        kinds = list(GATES)
        first = kinds.index(self.cell)
        return tuple(kinds[(first + above) % len(kinds)] for above in range(self.cells))

    @property
    def cell_units(self) -> tuple[int, ...]:
        """How many units each of these cells has."""
        count = len(self.cell_kinds)
        return tuple(self.M + count - 1 - above for above in range(count))

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

    def space_after(self, layers: int) -> tuple[int, ...]:
        """The size of the space behind so many layers; a size below 1 where a kernel does not fit."""
        space = self.space
        for _ in range(layers):
            if self.padding == "same":
                space = tuple(-(-size // self.strides) for size in space)
            else:
                reach = [(size - 1) * self.dilation_rate for size in self.kernel_sizes]
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
        heads = 2 if self.bidirectional and self.merge_mode == "none" else 1
        weights = self._recurrent_weights + heads * self.K * (self.head_inputs + 1)
        outputs = self.N * self.K * (1 if self.flatten else self.places)
        return 8 * (8 * weights + 3 * self._recurrent_arrays + 4 * heads * outputs)

    def _cells(self) -> Iterator[tuple[int, int, int]]:
        """Yield how many features each cell of the case reads, its units and its gates."""
        for layer in range(self.layers):
            features = self.width if layer else self.D
            for kind, units in zip(self.cell_kinds, self.cell_units, strict=True):
                for _ in range(2 if self.bidirectional else 1):
                    yield features, units, GATES[kind]
                features = units

    @property
    def _recurrent_weights(self) -> int:
        kernel = math.prod(self.kernel_sizes)
        biases = 2 if "gru" in self.cell_kinds and self.reset_after else 1
        return sum(gates * units * (kernel * (d + units) + biases) for d, units, gates in self._cells())

    @property
    def _recurrent_arrays(self) -> int:
        """How many numbers the inputs, gates and states of all steps are."""
        numbers = sum(d + (1 + gates) * units for d, units, gates in self._cells())
        return self.N * self.T * math.prod(self.outer) * math.prod(self.space) * numbers

    def _check_memory(self) -> None:
        most = half_of_memory()
        if self.bytes_needed > most:
            sizes = ", ".join(f"{size}={getattr(self, size)}" for size in SIZES)
            raise InputError(
                f"case: {sizes} came; it would need about {readable_bytes(self.bytes_needed)}, expected at most "
                f"{readable_bytes(most)}, half of this machine's memory. Use smaller sizes."
            )

    def changed_options(self) -> dict[str, Any]:
        """Return the options that differ from the default, without layer, sizes and seed, in the fields' order."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in (*SIZES, "layer", "seed") and getattr(self, f.name) != f.default
        }

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name."""
        return asdict(self)

    def __str__(self) -> str:
        sizes = " ".join(f"{size}{getattr(self, size)}" for size in SIZES)
        options = " ".join(
            name if value is True else f"{name}={value}" for name, value in self.changed_options().items()
        )
        return f"{self.layer} {sizes} {options}".rstrip()


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "layer": LAYERS,
    "cell": tuple(GATES),
    "wrapper": tuple(WRAPPERS),
    "merge_mode": MERGE_MODES,
    "dtype": tuple(POLICIES),
    "padding": PADDINGS,
    "mask": tuple(MASKS),
    "mask_from": tuple(MASK_SOURCES),
    "weights": tuple(WEIGHTS),
    **dict.fromkeys(("activation", "recurrent_activation", "dense_activation"), (*ACTIVATIONS, *ALIASES)),
}


def _check_size(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"case: {name}={value!r} came; expected a whole number from 1 up.")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise InputError(f"case: {name}={value!r} came; expected one of {', '.join(sorted(map(str, choices)))}.")


# The notebook's model, exactly.
NOTEBOOK = Case(N=1, T=10, D=3, M=5, K=2, weights="keras")


def reproduce_command(case: Case) -> str:
    """Return the command line that runs a case again."""
    words = ["rnncheck", "verify", "--layer", case.layer]
    for size in SIZES:
        words += [f"-{size}", str(getattr(case, size))]
    words += ["--seed", str(case.seed)]
    for name, value in case.changed_options().items():
        flag = "--" + name.replace("_", "-")
        words += (
            [f"--no-{name.replace('_', '-')}"] if value is False else [flag] if value is True else [flag, str(value)]
        )
    return shlex.join(words)
