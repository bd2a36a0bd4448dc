"""Faults of precision: coarser weights, products, states and activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncheck.equations.activations import sigmoid, tanh
from rnncheck.equations.arithmetic import KERNELS
from rnncheck.equations.cells import cell_of
from rnncheck.equations.changes import with_cell, with_options, with_state_fed
from rnncheck.equations.formats import int8, kept, with_kept_factors
from rnncheck.equations.operands import Weights, X
from rnncheck.faults.catalogue.causes import ONE_STEP
from rnncheck.faults.catalogue.fault import WITH_WEIGHTS, Form, fault, layerwise, of_layer, of_weight
from rnncheck.network import Activation, Array, Layer
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Elementary, Rounded

_TF32, _BFLOAT16 = 11, 8  # significant binary digits


def _wide(layer: Layer) -> bool:
    # It computes in more digits than what it is cut to.
    return layer.dtype in {"float32", "float64"}


@fault("precision", of_layer, when=_wide)
def tf32_products(layer: Layer) -> Layer:
    """the factors of products are rounded to TF32"""
    return with_kept_factors(layer, _TF32)


@fault("precision", of_layer, when=_wide)
def bfloat16_products(layer: Layer) -> Layer:
    """the factors of products are rounded to bfloat16"""
    return with_kept_factors(layer, _BFLOAT16)


@fault("precision", of_layer, kinds=("SimpleRNN", "LSTM", "GRU"), when=_wide)
def float16_accumulation(layer: Layer) -> Layer:
    """products are added up in float16, from the first term to the last"""
    cell = cell_of(layer)

    def summing(weights: Weights) -> Weights:
        kernels = KERNELS & set(layer.weights)
        return {**weights, **{name: _SumsInFloat16(weights[name], layer.weights[name]) for name in kernels}}

    return with_cell(
        layer,
        project=lambda x, weights, options: cell.project(x, summing(weights), options),
        gates=lambda projected, h, weights, options: cell.gates(projected, h, summing(weights), options),
    )


@dataclass(frozen=True, eq=False)
class _SumsInFloat16:
    _kernel: Any  # what the layer's equations multiply with, an array or Rounded
    _value: Array  # its numbers, (n, M)

    __array_ufunc__ = None  # so that NumPy leaves `a @ kernel` to the kernel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def __getitem__(self, columns: tuple[slice, slice]) -> _SumsInFloat16:
        return _SumsInFloat16(self._kernel[columns], self._value[columns])

    def __rmatmul__(self, a: Array) -> X:
        product = a @ self._kernel
        total = np.zeros(product.shape, np.float16)
        for k, row in enumerate(self._value):
            total = (total + a[..., k, np.newaxis] * row).astype(np.float16)
        # Where noise is computed, it is that of a right product.
        return product + (total - (product.value if isinstance(product, Rounded) else product))


@fault("precision", of_weight(), kinds=WITH_WEIGHTS, when=_wide)
def float16_weights(weight: Array) -> Array:
    """the weights are held in float16"""
    return PRECISIONS["float16"].round(weight).astype(weight.dtype)


@fault("precision", of_weight(), kinds=WITH_WEIGHTS, when=_wide)
def bfloat16_weights(weight: Array) -> Array:
    """the weights are held in bfloat16"""
    return PRECISIONS["bfloat16"].round(weight).astype(weight.dtype)


@fault("precision", of_weight(), kinds=WITH_WEIGHTS, when=_wide)
def int8_weights(weight: Array) -> Array:
    """the weights are held in 8 bits"""
    return int8(weight)


@fault("precision", of_layer, when=_wide, hidden_by=[ONE_STEP])
def state_in_bfloat16(layer: Layer) -> Layer:
    """h is handed from step to step in bfloat16"""
    return with_state_fed(layer, lambda h: kept(h, _BFLOAT16))


# Makes a fault of a function that approximates an activation; it is taken to have the same slope.
def _approximating(right: Elementary) -> Form:
    def changed(evaluate: Callable[[Array], Array], layer: Layer) -> Layer | None:
        approximate = Activation(right.name, function=replace(right, evaluate=evaluate))
        chosen = [k for k, it in layer.options.items() if isinstance(it, Activation) and it.name == right.name]
        return with_options(layer, **dict.fromkeys(chosen, approximate)) if chosen else None

    return layerwise(changed)


_SERIES = np.polynomial.Chebyshev.interpolate(np.tanh, 57, domain=[-6.5, 6.5])


@fault("precision", _approximating(tanh))
def tanh_polynomial(v: Array) -> Array:
    """tanh is a polynomial with an error of 4e-6"""
    return np.asarray(_SERIES(np.clip(v, -6.5, 6.5)))


@fault("precision", _approximating(tanh))
def tanh_pade(v: Array) -> Array:
    """tanh is a quotient of polynomials with an error of 1e-4"""
    # x(135135 + 17325x² + 378x⁴ + x⁶)/(135135 + 62370x² + 3150x⁴ + 28x⁶), held within ±1
    x = np.clip(v, -5.0, 5.0)
    square = np.square(x)
    above = 135135.0 + square * (17325.0 + square * (378.0 + square))
    below = 135135.0 + square * (62370.0 + square * (3150.0 + 28.0 * square))
    return np.asarray(np.clip(x * above / below, -1.0, 1.0))


@fault("precision", _approximating(sigmoid))
def sigmoid_table(v: Array) -> Array:
    """sigmoid comes from a table of 256 entries"""
    # The nearest of entries between -8 and 8: an error of 8e-3.
    return 1.0 / (1.0 + np.exp(-np.rint(np.clip(v, -8.0, 8.0) * 16.0) / 16.0))
