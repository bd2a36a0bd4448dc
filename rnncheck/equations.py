"""The layers' equations, in textbook form, each written once.

Every function runs on plain float64 arrays, which gives the replay, and on `Rounded`, which gives bound and
noise as well. R is any number of rows: N at one step of the replay, or all N·T steps at once in the step check.

A recurrent layer is a `Cell`: the part of its step that needs no state (`project`, which may run on all steps at
once) and the step itself. To add a cell, write the two functions and enter them in `CELLS`; to add a layer without
a state, write its function and enter it in `LAYERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rnncheck.activations import activate

X = Any  # a plain float64 array or a Rounded
Weights = Mapping[str, Any]  # name -> plain array or rounding.Matrix
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One step of a recurrent layer.

    Attributes:
        states: the names of the states, the layer's output first.
        project: (x (R, D), weights) -> the step's share that depends on the input alone.
        step: (projected, states, weights, options) -> the new states, in the order of `states`.
    """

    states: tuple[str, ...]
    project: Callable[[X, Weights], X]
    step: Callable[[X, tuple[X, ...], Weights, Options], tuple[X, ...]]


def affine(x: X, weights: Weights) -> X:
    """x·kernel + bias: x (R, D), kernel (D, M), bias (M,) -> (R, M); without a bias, x·kernel."""
    product = x @ weights["kernel"]
    return product + weights["bias"] if "bias" in weights else product


def simple_rnn_step(projected: X, states: tuple[X, ...], weights: Weights, options: Options) -> tuple[X]:
    """h_t = activation(x_t·kernel + bias + h_{t-1}·recurrent_kernel).

    projected (R, M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, M) -> h (R, M).

    Source: Elman, Finding Structure in Time, Cognitive Science 14 (1990); Keras 3.15, SimpleRNNCell.call.
    """
    (h,) = states
    return (activate(options["activation"], projected + h @ weights["recurrent_kernel"]),)


def dense(x: X, weights: Weights, options: Options) -> X:
    """activation(x·kernel + bias): x (..., M), kernel (M, K), bias (K,) -> (..., K).

    Source: Keras 3.15, Dense.call.
    """
    return activate(options["activation"], affine(x, weights))


def flatten(x: X, weights: Weights, options: Options) -> X:
    """All but the first axis in one, last axis fastest: x (N, T, M) -> (N, T·M).

    Source: Keras 3.15, Flatten.call with data_format channels_last.
    """
    del weights, options
    n, *rest = x.shape
    length = 1
    for size in rest:
        length *= size
    return x.reshape((n, length))


CELLS: Mapping[str, Cell] = {
    "SimpleRNN": Cell(states=("h",), project=affine, step=simple_rnn_step),
}

LAYERS: Mapping[str, Callable[[X, Weights, Options], X]] = {
    "Dense": dense,
    "Flatten": flatten,
}

# Layers that move numbers without computing: what goes in comes out, so that nothing may differ.
REARRANGING = frozenset({"Flatten"})
