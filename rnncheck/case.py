"""A Case: which model to build, with which inputs. Plain data, no framework."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

from rnncheck.activations import ACTIVATIONS
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

LAYERS = ("simple_rnn",)

WEIGHTS = {
    "random": "random weights and biases, none of them zero",
    "keras": "Keras' default initialisers, as in the notebook: zero biases, which hide every bias fault",
}

# The options of a case that are on or off.
FLAGS = (
    "use_bias",
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


@dataclass(frozen=True)
class Case:
    """Input (T, D) -> recurrent layer (M) -> Dense (K), for N samples.

    Attributes:
        N: samples.
        T: steps.
        D: input features.
        M: hidden units.
        K: output units.
        layer: the recurrent layer, as on the command line.
        seed: of weights and inputs.
        dtype: a Keras dtype policy.
        activation: of the recurrent layer, by Keras' name.
        use_bias: whether both layers have a bias.
        return_sequences: whether Dense sees every step; else it sees the last.
        return_state: whether the model also returns the final state.
        go_backwards: whether the layer takes the steps last to first.
        stateful: whether a second call goes on from where the first one ended; two calls are made.
        unroll: whether Keras builds the steps one by one instead of a loop.
        initial_state: whether the state starts from an input instead of zero.
        mask: which steps count, one of `MASKS`.
        zero_output_for_mask: whether the output is zero where a step does not count.
        dropout: rate on the inputs; inactive at inference.
        recurrent_dropout: rate on the states; inactive at inference.
        flatten: whether Flatten stands between the sequence and Dense.
        dense_activation: of Dense, by Keras' name.
        weights: where the weights come from, one of `WEIGHTS`.
        recurrent_scale: the largest singular value of the recurrent kernel; above about 1.5 the run is chaotic.
            None for a value at which the activation's states stay moderate.
    """

    N: int = 4
    T: int = 10
    D: int = 3
    M: int = 5
    K: int = 2
    layer: str = "simple_rnn"
    seed: int = 0
    dtype: str = "float32"
    activation: str = "tanh"
    use_bias: bool = True
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    initial_state: bool = False
    mask: str = "none"
    zero_output_for_mask: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    flatten: bool = False
    dense_activation: str = "linear"
    weights: str = "random"
    recurrent_scale: float | None = None

    def __post_init__(self) -> None:
        for size in SIZES:
            _check_size(size, getattr(self, size))
        _check_choice("layer", self.layer, LAYERS)
        _check_choice("dtype", self.dtype, tuple(POLICIES))
        _check_choice("mask", self.mask, tuple(MASKS))
        _check_choice("weights", self.weights, tuple(WEIGHTS))
        for option in ("activation", "dense_activation"):
            _check_choice(option, getattr(self, option), (*ACTIVATIONS, *ALIASES))
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
        """Refuse options that exclude each other."""
        if self.activation == "glu":
            raise InputError(
                "case: activation='glu' came; expected one that keeps the number of units, since the state is "
                "fed back. Use dense_activation='glu' instead."
            )
        if self.dense_activation == "glu" and self.K % 2:
            raise InputError(
                f"case: dense_activation='glu' came with K={self.K}; expected an even K, since glu halves it."
            )
        if self.flatten and not self.return_sequences:
            raise InputError(
                "case: flatten=True came with return_sequences=False; expected return_sequences=True, since there "
                "is nothing to flatten in one step."
            )
        if self.weights == "keras" and self.dtype == "bfloat16":
            raise InputError(
                "case: weights='keras' came with dtype='bfloat16'; expected weights='random', since Keras' "
                "orthogonal initialiser has no bfloat16 form."
            )

    @property
    def head_inputs(self) -> int:
        """How many features Dense reads: M, or T·M behind Flatten."""
        return self.T * self.M if self.flatten else self.M

    @property
    def bytes_needed(self) -> int:
        """About how much memory building and checking the case takes."""
        weights = self.M * (self.D + self.M + 1) + self.K * (self.head_inputs + 1)
        arrays = self.N * self.T * (self.D + 2 * self.M)
        outputs = self.N * self.K * (self.T if self.return_sequences and not self.flatten else 1)
        return 8 * (8 * weights + 3 * arrays + 4 * outputs)

    def _check_memory(self) -> None:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if self.bytes_needed > available // 2:
            sizes = ", ".join(f"{size}={getattr(self, size)}" for size in SIZES)
            raise InputError(
                f"case: {sizes} came; it would need about {readable_bytes(self.bytes_needed)}, expected at most "
                f"{readable_bytes(available // 2)}, half of this machine's memory. Use smaller sizes."
            )

    def changed_options(self) -> dict[str, Any]:
        """Return the options that differ from the default, without sizes and seed, in the order of the fields."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in (*SIZES, "seed") and getattr(self, f.name) != f.default
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


def readable_bytes(count: float) -> str:
    """Return a number of bytes as a person says it."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = min(int(math.log(max(count, 1), 1024)), len(units) - 1)
    size = count / 1024**power
    return f"{size:.0f} {units[power]}" if size >= 1000 else f"{size:.3g} {units[power]}"


def _check_size(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"case: {name}={value!r} came; expected a whole number from 1 up.")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise InputError(f"case: {name}={value!r} came; expected one of {', '.join(sorted(map(str, choices)))}.")


# The notebook's model, exactly.
NOTEBOOK = Case(N=1, T=10, D=3, M=5, K=2, weights="keras")
