"""The built-in grid: the cases that `rnncheck verify` runs, and how options on the command line make others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import cycle, product
from typing import Any

from rnncheck.cases.case import GATES, LAYERS, MASK_SOURCES, MASKS, MERGE_MODES, NOTEBOOK, POLICIES, RANKS, Case
from rnncheck.cases.deviations import deviates
from rnncheck.equations.activations import ACTIVATIONS
from rnncheck.errors import InputError

Options = dict[str, Any]

# Sizes pairwise different, also from the sizes of space and the number of outer steps: swapped axes then show.
_SIZES = {"N": 3, "T": 7, "D": 4, "M": 6, "K": 2}
_SIZES_STACKED = {"N": 3, "T": 9, "D": 4, "M": 6, "K": 2}  # the cells have 6, 7 and 8 units
_SIZES_CONVOLUTION = {"N": 4, "T": 7, "D": 2, "M": 8, "K": 1}  # the space is 6, 5, 3
_SIZES_TIME_DISTRIBUTED = {"N": 9, "T": 7, "D": 4, "M": 8, "K": 1}  # with 2 outer steps

_OTHERS = tuple(layer for layer in LAYERS if layer not in GATES)
_WRAPPED = ("bidirectional", "time_distributed")
_PADDINGS = tuple(mask for mask in MASKS if mask != "none")


def default_grid(seed: int = 0, backends: Sequence[str] = ("tensorflow",)) -> list[Case]:
    """Return the built-in cases, the notebook's first, without those known to deviate on one of the backends."""
    # Each case has weights and inputs of its own.
    others = (Case(seed=own, **options) for own, options in enumerate(_options(), start=seed))
    return [case for case in (NOTEBOOK, *others) if not deviates(case, backends)]


def _options() -> Iterator[Options]:
    yield from (_base(layer) for layer in LAYERS if layer != "simple_rnn")
    yield from (_base("lstm", wrapper) for wrapper in _WRAPPED)
    for part in (_sizes, _activations, _dtypes, _masks, _mask_sources, _bidirectional, _time_distributed):
        yield from part()
    others = cycle(("simple_rnn", "gru"))
    for options in _single_options():
        yield {**_base("lstm"), **options}
        yield {**_base(next(others)), **options}
    yield from ({**_SIZES, **options} for options in _options_of_one_layer())
    yield from _stacked_and_cells()
    yield from _convolutions()
    yield from _fronts()


def _base(layer: str, wrapper: str = "none") -> Options:
    """Return a layer, its wrapper, and sizes that differ from all others in it."""
    special = {"stacked": _SIZES_STACKED, **dict.fromkeys(RANKS, _SIZES_CONVOLUTION)}
    sizes = _SIZES_TIME_DISTRIBUTED if wrapper == "time_distributed" else special.get(layer, _SIZES)
    return {**sizes, "layer": layer, "wrapper": wrapper}


def _sizes() -> Iterator[Options]:
    for sizes in (
        (2, 4, 1, 3, 5),
        (2, 50, 3, 5, 4),
        (4, 10, 3, 32, 2),
        (4, 50, 3, 32, 2),
        (32, 100, 16, 64, 3),
        (8, 20, 64, 128, 10),
        (5, 30, 2, 256, 1),
        (64, 12, 7, 33, 4),
    ):
        yield dict(zip("NTDMK", sizes, strict=True))
    for layer, sizes in product(("lstm", "gru"), ((32, 100, 16, 64, 3), (5, 30, 2, 128, 1))):
        yield {**dict(zip("NTDMK", sizes, strict=True)), "layer": layer}
    # A recurrent kernel whose largest singular value is far above 1: chaotic, errors grow by orders of magnitude.
    yield {"N": 8, "T": 300, "D": 5, "M": 64, "K": 2, "recurrent_scale": 3.0}


def _activations() -> Iterator[Options]:
    # Every activation of Dense, of a SimpleRNN, and of the gates and states of LSTM and GRU in turn.
    for activation, layer in zip(sorted(ACTIVATIONS), cycle(("lstm", "gru")), strict=False):
        if activation == "glu":  # halves the units, which a recurrent layer cannot
            yield {**_SIZES, "dense_activation": activation, "return_sequences": True}
            continue
        yield {**_SIZES, "activation": activation, "dense_activation": activation, "return_sequences": True}
        yield {**_base(layer), "recurrent_activation": activation, "return_sequences": True}
    yield from ({**_base(layer), "activation": "relu", "return_sequences": True} for layer in ("lstm", "gru"))


def _dtypes() -> Iterator[Options]:
    # Every dtype with every cell, and with the other layers and wrappers in turn.
    others = cycle([*(_base(layer) for layer in _OTHERS), *(_base("lstm", wrapper) for wrapper in _WRAPPED)])
    for dtype in POLICIES:
        yield {**_SIZES, "dtype": dtype, "M": 32, "activation": "relu", "initial_state": True}
        yield {**_base("lstm"), "dtype": dtype, "M": 32, "initial_state": True, "return_state": True}
        yield {**_base("gru"), "dtype": dtype, "M": 32, "mask": "mixed", "return_sequences": True}
        yield {**next(others), "dtype": dtype, "mask": "mixed", "return_sequences": True}


def _masks() -> Iterator[Options]:
    # Every mask with LSTM in both directions, with the other layers half of that. The remainders of `place` spread
    # the other options so that none of them goes along with another.
    for place, (layer, mask, go_backwards) in enumerate(product(GATES, _PADDINGS, (False, True))):
        if layer != "lstm" and (place + place // 2 + (layer == "gru")) % 2:
            continue
        zero = (place + place // 12) % 3 == 0
        common = {"mask": mask, "go_backwards": go_backwards, "initial_state": True, "return_state": True}
        sequences = (place // 2 + place // 12) % 2 == 0
        yield {**_base(layer), **common, "return_sequences": sequences, "zero_output_for_mask": zero}
    for place, (mask, layer) in enumerate(product(_PADDINGS, _OTHERS)):
        if place % 2 == 0:
            zero, backwards, sequences = place % 3 == 0, place // 2 % 2 == 0, place // 4 % 2 == 0
            options = {"mask": mask, "go_backwards": backwards, "zero_output_for_mask": zero}
            yield {**_base(layer), **options, "return_sequences": sequences}


def _mask_sources() -> Iterator[Options]:
    # Masks that a layer of the model finds, in front of every layer and wrapper that takes them.
    sources = [source for source in MASK_SOURCES if source != "input"]
    for place, (layer, source, wrapper) in enumerate(product((*GATES, "stacked"), sources, ("none", *_WRAPPED))):
        if (place + place // 6) % 2 == 0:
            options = {"mask": "mixed", "mask_from": source, "return_sequences": place // 4 % 2 == 0}
            yield {**_base(layer, wrapper), **options}
    yield {**_SIZES, "mask": "right", "mask_from": "embedding", "layers": 2, "layer": "gru"}


def _bidirectional() -> Iterator[Options]:
    # Every mask with LSTM, and with the others in turn; merge modes and options go round at their own pace.
    modes = cycle(MERGE_MODES)
    others = cycle(("simple_rnn", "gru"))
    masked = [*product(("lstm",), MASKS), *((next(others), mask) for mask in MASKS)]
    masked += zip(_OTHERS, cycle(("none", "mixed")), strict=False)
    for place, (layer, mask) in enumerate(masked):
        options = {"mask": mask, "merge_mode": next(modes), "return_sequences": place // 2 % 2 == 0}
        yield {**_base(layer, "bidirectional"), **options, "return_state": place % 3 == 0}
    for layer, mode in (("lstm", "concat"), ("gru", "none")):
        options = {"merge_mode": mode, "initial_state": True, "return_state": True, "own_backward": True}
        yield {**_base(layer, "bidirectional"), **options, "flatten": mode == "none", "return_sequences": True}
    for layer in ("lstm", "stacked"):
        yield {**_base(layer, "bidirectional"), "initial_state": True, "return_state": True, "mask": "mixed"}
    yield {**_base("lstm", "bidirectional"), "stateful": True, "mask": "mixed", "return_sequences": True}
    yield {**_base("gru", "bidirectional"), "layers": 2, "merge_mode": "sum", "mask": "both"}
    yield {**_base("simple_rnn", "bidirectional"), "own_backward": True, "go_backwards": True}
    yield {**_base("lstm", "bidirectional"), "unroll": True, "use_bias": False, "merge_mode": "mul"}


def _time_distributed() -> Iterator[Options]:
    for place, layer in enumerate(LAYERS):
        yield {**_base(layer, "time_distributed"), "return_sequences": place % 2 == 0, "flatten": place % 3 == 0}
    options = {"mask": "mixed", "go_backwards": True, "return_sequences": True, "zero_output_for_mask": True}
    yield {**_base("lstm", "time_distributed"), **options}
    yield {**_base("gru", "time_distributed"), "mask": "left", "layers": 2}


# Each with LSTM, and with SimpleRNN and GRU in turn.
def _single_options() -> Iterator[Options]:
    yield {"use_bias": False}
    yield {"stateful": True, "return_sequences": True, "return_state": True}
    yield {"stateful": True, "mask": "mixed"}
    yield {"unroll": True, "mask": "mixed", "zero_output_for_mask": True}
    yield {"unroll": True, "stateful": True, "go_backwards": True}
    yield {"dropout": 0.5, "recurrent_dropout": 0.5}
    yield {"layers": 2, "initial_state": True, "return_state": True, "go_backwards": True}
    yield {"weights": "keras", "return_sequences": True}


# Each with one layer, SimpleRNN unless it says otherwise.
def _options_of_one_layer() -> Iterator[Options]:
    yield {"return_state": True}
    yield {"return_sequences": True, "flatten": True}
    yield {"go_backwards": True, "return_sequences": True}
    yield {"initial_state": True}
    yield {"return_sequences": True, "return_state": True}
    yield {"go_backwards": True}
    yield {"stateful": True}
    yield {"unroll": True}
    yield {"unroll": True, "mask": "mixed", "return_sequences": True}
    yield {"dropout": 0.5, "recurrent_dropout": 0.5, "unroll": True}
    yield {"activation": "relu", "return_sequences": True, "flatten": True, "dense_activation": "softmax"}
    yield {"layer": "lstm", "unit_forget_bias": False, "weights": "keras"}
    for options in ({}, {"use_bias": False}, {"unroll": True}, {"mask": "mixed", "initial_state": True}):
        yield {"layer": "gru", "reset_after": False, "return_sequences": True, **options}
    yield {"layer": "gru", "reset_after": False, "wrapper": "bidirectional", "dtype": "float64"}


def _stacked_and_cells() -> Iterator[Options]:
    for cell in GATES:
        yield {**_base("rnn"), "cell": cell, "initial_state": True, "return_state": True}
        yield {**_base("stacked"), "cell": cell, "cells": 3, "return_state": True, "return_sequences": True}
    yield {**_base("stacked"), "initial_state": True, "return_state": True, "go_backwards": True, "mask": "holes"}
    yield {**_base("stacked"), "cell": "lstm", "unroll": True, "reset_after": False}
    yield {**_base("stacked"), "stateful": True, "use_bias": False}
    yield {**_base("rnn"), "cell": "lstm", "stateful": True, "weights": "keras"}


def _convolutions() -> Iterator[Options]:
    for layer in RANKS:
        yield {**_base(layer), "initial_state": True, "return_state": True, "flatten": True}
        yield {**_base(layer), "kernel_size": 3, "strides": 2, "padding": "same", "return_sequences": True}
        yield {**_base(layer), "dilation_rate": 2, "go_backwards": True}
    yield {**_base("conv_lstm_1d"), "stateful": True, "mask": "mixed"}
    yield {**_base("conv_lstm_2d"), "unroll": True, "use_bias": False}
    yield {**_base("conv_lstm_2d"), "activation": "relu", "recurrent_activation": "hard_sigmoid", "layers": 2}
    yield {**_base("conv_lstm_3d"), "weights": "keras", "unit_forget_bias": False, "padding": "same"}


def _fronts() -> Iterator[Options]:
    # Every front with LSTM, and with the others in turn in a dtype that every version of Keras runs it in.
    dtypes = {
        "conv1d": "mixed_bfloat16", "separable_conv1d": "float64", "conv2d": "float16",
        "depthwise_conv2d": "float32", "separable_conv2d": "mixed_float16", "conv3d": "float32",
    }  # fmt: skip
    others = cycle(("simple_rnn", "gru", "rnn", "stacked"))
    for place, (front, dtype) in enumerate(dtypes.items()):
        wrapper = "bidirectional" if place % 2 else "none"
        yield {**_base("lstm", wrapper), "front": front, "return_sequences": place % 3 == 0}
        yield {**_base(next(others)), "front": front, "dtype": dtype, "mask": "mixed", "go_backwards": place % 2 == 0}


def product_of(options: Mapping[str, Sequence[Any]], seed: int) -> list[Case]:
    """Return a case for every combination of the values given; what is not given keeps its default.

    Raises:
        InputError: an option is none of a case's, or a combination is no case.
    """
    known = [each.name for each in fields(Case)]
    for option in options:
        if option not in known:
            raise InputError(f"case: got {option!r}; expected one of {', '.join(known)}.")
    return [Case(**dict(zip(options, values, strict=True)), seed=seed) for values in product(*options.values())]
