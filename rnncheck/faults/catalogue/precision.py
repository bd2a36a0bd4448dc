"""Faults of precision: coarser weights, products, states and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnncheck.equations.cells import cell_of
from rnncheck.equations.changes import with_cell, with_factors, with_options, with_state_fed, with_weights
from rnncheck.equations.formats import int8
from rnncheck.equations.operands import Weights, X
from rnncheck.faults.catalogue.causes import ONE_STEP
from rnncheck.faults.catalogue.fault import WITH_WEIGHTS, Change, Form, fault, of_layer, of_weights
from rnncheck.network import Activation, Array, Layer
from rnncheck.rounding.accuracy import ACCURACY
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Elementary, Rounded

_TF32, _BFLOAT16 = 11, 8  # significant binary digits


def kept(x: X, digits: int) -> X:
    """Return numbers rounded to nearest at so many significant binary digits; error and noise stay as they are."""
    if isinstance(x, Rounded):
        return x.like(kept(x.value, digits), x.variance, x.bound)
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)


def _wide(layer: Layer) -> bool:
    """Whether the layer computes in more digits than what it is cut to."""
    return layer.dtype in {"float32", "float64"}


@fault("precision", of_layer, when=_wide)
def tf32_products(layer: Layer) -> Layer:
    """the factors of products are rounded to TF32"""
    return _with_coarse_products(layer, _TF32)


@fault("precision", of_layer, when=_wide)
def bfloat16_products(layer: Layer) -> Layer:
    """the factors of products are rounded to bfloat16"""
    return _with_coarse_products(layer, _BFLOAT16)


def _with_coarse_products(layer: Layer, digits: int) -> Layer:
    """Round both factors of the products with the kernel and with the recurrent kernel."""
    kernels = {name: kept(layer.weights[name].astype(np.float64), digits) for name in ("kernel", "recurrent_kernel")}
    return with_factors(with_weights(layer, **kernels), lambda x, _: kept(x, digits))


@fault("precision", of_layer, kinds=("SimpleRNN", "LSTM", "GRU"), when=_wide)
def float16_accumulation(layer: Layer) -> Layer:
    """products are added up in float16, from the first term to the last"""
    cell = cell_of(layer)

    def summing(weights: Weights) -> Weights:
        names = ("kernel", "recurrent_kernel")
        return {**weights, **{name: _SumsInFloat16(weights[name], layer.weights[name]) for name in names}}

    return with_cell(
        layer,
        project=lambda x, weights, options: cell.project(x, summing(weights), options),
        gates=lambda projected, h, weights, options: cell.gates(projected, h, summing(weights), options),
    )


class _SumsInFloat16:
    """A kernel whose products are added up in float16, from the first term to the last."""

    __array_ufunc__ = None

    def __init__(self, kernel: Any, value: Array) -> None:
        self._kernel = kernel
        self._value = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def __getitem__(self, columns: tuple[slice, slice]) -> _SumsInFloat16:
        return _SumsInFloat16(self._kernel[columns], self._value[columns])

    def __rmatmul__(self, a: Array) -> X:
        product = a @ self._kernel
        total = np.zeros(product.shape, np.float16)
        for k, row in enumerate(self._value):
            total = (total + a[..., k, np.newaxis] * row).astype(np.float16)
        return product + (total - (product.value if isinstance(product, Rounded) else product))


@fault("precision", of_weights(), kinds=WITH_WEIGHTS, when=_wide)
def float16_weights(weight: Array) -> Array:
    """the weights are held in float16"""
    return PRECISIONS["float16"].round(weight).astype(weight.dtype)


@fault("precision", of_weights(), kinds=WITH_WEIGHTS, when=_wide)
def bfloat16_weights(weight: Array) -> Array:
    """the weights are held in bfloat16"""
    return PRECISIONS["bfloat16"].round(weight).astype(weight.dtype)


@fault("precision", of_weights(), kinds=WITH_WEIGHTS, when=_wide)
def int8_weights(weight: Array) -> Array:
    """the weights are held in 8 bits"""
    return int8(weight)


@fault("precision", of_layer, when=_wide, hidden_by=[ONE_STEP])
def state_in_bfloat16(layer: Layer) -> Layer:
    """h is handed from step to step in bfloat16"""
    return with_state_fed(layer, lambda h: kept(h, _BFLOAT16))


def _approximating(of: str) -> Form:
    """Make a fault of a function that approximates an activation; it is taken to have the same slope."""
    slopes: dict[str, Callable[[Array, Array], Array]] = {
        "tanh": lambda v, f: 1.0 - f * f,
        "sigmoid": lambda v, f: f * (1.0 - f),
    }

    def form(evaluate: Callable[[Array], Array]) -> Change:
        function = Elementary(of, evaluate, slopes[of], lambda v, slope, e: slope + e, ACCURACY[of])
        approximate = Activation(of, function=function)

        def changed(layer: Layer) -> Layer | None:
            chosen = [
                name for name, each in layer.options.items() if isinstance(each, Activation) and each.name == of
            ]
            return with_options(layer, **dict.fromkeys(chosen, approximate)) if chosen else None

        return of_layer(changed)

    return form


_SERIES = np.polynomial.Chebyshev.interpolate(np.tanh, 57, domain=[-6.5, 6.5])


@fault("precision", _approximating("tanh"))
def tanh_polynomial(v: Array) -> Array:
    """tanh is a polynomial with an error of 4e-6"""
    result: Array = _SERIES(np.clip(v, -6.5, 6.5))
    return result


@fault("precision", _approximating("tanh"))
def tanh_pade(v: Array) -> Array:
    """tanh is a quotient of polynomials with an error of 1e-4"""
    # x(135135 + 17325x² + 378x⁴ + x⁶)/(135135 + 62370x² + 3150x⁴ + 28x⁶), held within ±1
    x = np.clip(v, -5.0, 5.0)
    square = np.square(x)
    above = 135135.0 + square * (17325.0 + square * (378.0 + square))
    below = 135135.0 + square * (62370.0 + square * (3150.0 + 28.0 * square))
    result: Array = np.clip(x * above / below, -1.0, 1.0)
    return result


@fault("precision", _approximating("sigmoid"))
def sigmoid_table(v: Array) -> Array:
    """sigmoid comes from a table of 256 entries"""
    # The nearest of entries between -8 and 8: an error of 8e-3.
    return 1.0 / (1.0 + np.exp(-np.rint(np.clip(v, -8.0, 8.0) * 16.0) / 16.0))
