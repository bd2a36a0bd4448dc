"""The equations of the layers without a state, in textbook form, each written once.

An equation is a function of the layer's inputs that takes weights and options by keyword, under Keras' names. It runs
on plain float64 arrays and on `Rounded` alike. To add a layer, write its function and decorate it:

    @layer("Dense", rowwise=True)
    def dense(x, *, kernel, bias=None, activation): ...

Equations have channels last; with the option data_format="channels_first" a layer's are moved there and back.

Source: the layers of Keras 3.15, each by its class name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce, wraps
from typing import Any

import numpy as np

from rnncheck.equations import activations
from rnncheck.equations.activations import activate
from rnncheck.equations.operands import Options, Weights, X, keywords, move, piecewise
from rnncheck.network import Activation, Layer
from rnncheck.rounding.rounded import Rounded


@dataclass(frozen=True)
class Operation:
    """What a layer without a state does."""

    apply: Callable[[Sequence[X], Weights, Options], X]  # (the inputs in order, weights, options) -> the output
    exact: bool = False  # whether it only moves or selects numbers: what comes out is bit by bit what went in
    # Whether each row over the last axis depends on that row of the inputs alone (where they all have the output's
    # other axes), so that blocks may be cut along any other axis.
    rowwise: bool = False
    casts_inputs: bool = True  # whether inputs are cast to the layer's precision first
    # Whether weights are too. Where they are not, the layer computes in float32 at least, with its weights as they
    # are stored, and rounds its output.
    casts_weights: bool = True


# By Keras' class name, or one of our own for what a model does between its layers.
LAYERS: dict[str, Operation] = {}

# Layers that stand for what a model does between its layers: nobody sees their output, and it has no row of its own.
HELPERS: set[str] = set()


def layer(*kinds: str, helper: bool = False, **properties: bool) -> Callable[[Callable[..., X]], Callable[..., X]]:
    """Register a function as the equation of some kinds of layers, with the properties of their `Operation`."""

    def registered(function: Callable[..., X]) -> Callable[..., X]:
        names = keywords(function)

        @wraps(function)
        def apply(inputs: Sequence[X], weights: Weights, options: Options) -> X:
            # A weight that the equation does not take is an error; an option may be one that changes no number.
            named = {**weights, **{name: options[name] for name in names if name in options}}
            if options.get("data_format") != "channels_first":
                return function(*inputs, **named)
            x, *masks = inputs  # (N, C, space...), which the equation takes as (N, space..., C)
            own = {"activation": Activation("linear")} if "activation" in named else {}
            y = function(move(x, lambda array: np.moveaxis(array, 1, -1)), *masks, **{**named, **own})
            y = move(y, lambda array: np.moveaxis(array, -1, 1))
            return activate(named["activation"], y) if own else y  # which may be over the last axis, as it is now

        LAYERS.update(dict.fromkeys(kinds, Operation(apply, **properties)))
        HELPERS.update(kinds if helper else ())
        return function

    return registered


def operation_of(layer: Layer) -> Operation:
    """Return the equation of a layer without a state: its own, or that of its kind."""
    return layer.equations or LAYERS[layer.kind]


def affine(x: X, *, kernel: Any, bias: Any = None, bias_first: bool = False) -> X:
    """x·kernel + bias: x (..., D), kernel (D, M), bias (M,) -> (..., M); without a bias, x·kernel.

    With `bias_first` the products may be added to the bias one by one, as BLAS does for PyTorch.
    """
    # A `Matrix` multiplies rows, (R, D).
    rows = x if len(x.shape) == 2 else x.reshape((-1, x.shape[-1]))
    product = rows @ kernel
    total = product if bias is None else product + bias
    if bias_first and bias is not None and isinstance(total, Rounded):
        total = total.summed_onto(bias, rows.shape[-1])
    return total if rows is x else total.reshape((*x.shape[:-1], total.shape[-1]))


@layer("Dense", rowwise=True)
def dense(x: X, *, kernel: Any, bias: Any = None, activation: Activation, bias_first: bool = False) -> X:
    """activation(x·kernel + bias): x (..., M), kernel (M, K), bias (K,) -> (..., K)."""
    return activate(activation, affine(x, kernel=kernel, bias=bias, bias_first=bias_first))


@layer("Activation", rowwise=True)
def activation(x: X, *, activation: Activation) -> X:
    """The activation of each number, or over the last axis."""
    return activate(activation, x)


@layer("ReLU", rowwise=True)
def relu(x: X, *, max_value: float | None, negative_slope: float, threshold: float) -> X:
    """min(x, max_value) where x > threshold, else negative_slope·(x - threshold); it jumps at a threshold but 0."""
    above = x if max_value is None else piecewise(x, max_value, x, max_value)
    below = (x - threshold) * negative_slope if negative_slope else 0.0
    return piecewise(x, threshold, below, above, jumps=threshold != 0.0)


# What these layers compute are the activations of their names, with the parameter that the layer has.
layer("LeakyReLU", rowwise=True)(activations.leaky_relu)
layer("ELU", rowwise=True)(activations.elu)


@layer("PReLU")
def prelu(x: X, *, alpha: Any) -> X:
    """x where x > 0, else alpha·x: x (N, ...), alpha (...) with 1 along shared axes."""
    return piecewise(x, 0.0, x * alpha, x)


@layer("Add", rowwise=True)
def add(*inputs: X) -> X:
    """x_1 + x_2 + ..., from left to right."""
    return reduce(operator.add, _of_one_rank(inputs))


@layer("Subtract", rowwise=True)
def subtract(*inputs: X) -> X:
    """x_1 - x_2."""
    x_1, x_2 = _of_one_rank(inputs)
    return x_1 - x_2


@layer("Multiply", rowwise=True)
def multiply(*inputs: X) -> X:
    """x_1*x_2*..., from left to right."""
    return reduce(operator.mul, _of_one_rank(inputs))


@layer("Average", rowwise=True)
def average(*inputs: X) -> X:
    """(x_1 + x_2 + ...)/k of k inputs."""
    return reduce(operator.add, _of_one_rank(inputs)) / float(len(inputs))


@layer("Maximum", exact=True, rowwise=True)
def maximum(*inputs: X) -> X:
    """max(x_1, x_2, ...), element by element."""
    return reduce(_larger, _of_one_rank(inputs))


@layer("Minimum", exact=True, rowwise=True)
def minimum(*inputs: X) -> X:
    """min(x_1, x_2, ...), element by element."""
    return reduce(_smaller, _of_one_rank(inputs))


def _of_one_rank(inputs: Sequence[X]) -> list[X]:
    # Inputs of lower rank get axes of length 1 after N, as Keras' merging layers broadcast.
    rank = max(len(x.shape) for x in inputs)
    return [x.reshape((x.shape[0], *(1,) * (rank - len(x.shape)), *x.shape[1:])) for x in inputs]


# `piecewise` keeps the errors of whichever may be the larger; plain arrays need NumPy's own, which passes NaN on.
def _larger(a: X, b: X) -> X:
    difference = a - b
    return piecewise(difference, 0.0, b, a) if isinstance(difference, Rounded) else np.maximum(a, b)


def _smaller(a: X, b: X) -> X:
    difference = a - b
    return piecewise(difference, 0.0, a, b) if isinstance(difference, Rounded) else np.minimum(a, b)
