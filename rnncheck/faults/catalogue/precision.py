"""Faults of precision: coarser weights, products, states and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnncheck.equations.cells import CELLS, cell_of
from rnncheck.equations.changes import feeding, with_cell, with_options, with_weights
from rnncheck.equations.formats import int8
from rnncheck.equations.operands import Weights, X
from rnncheck.faults.catalogue.causes import ONE_STEP
from rnncheck.faults.catalogue.fault import Change, Fault, in_layer
from rnncheck.network import Activation, Array, Layer
from rnncheck.rounding.accuracy import ACCURACY
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Elementary, Rounded

_WITH_WEIGHTS = (*CELLS, "Dense")


_TF32, _BFLOAT16 = 11, 8  # significant binary digits


def kept(x: X, digits: int) -> X:
    """Return numbers rounded to nearest at so many significant binary digits; error and noise stay as they are."""
    if isinstance(x, Rounded):
        return Rounded(kept(x.value, digits), x.variance, x.bound, x.precision)
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)


def _wide(layer: Layer) -> bool:
    """Whether the layer computes in more digits than what it is cut to."""
    return layer.dtype in {"float32", "float64"}


def _each_weight(change: Callable[[Array], Array]) -> Change:
    def changed(layer: Layer) -> Layer | None:
        if not _wide(layer):
            return None
        return with_weights(layer, **{name: change(weight) for name, weight in layer.weights.items()})

    return in_layer(changed, _WITH_WEIGHTS)


def _through(name: str) -> Callable[[Array], Array]:
    def rounded(weight: Array) -> Array:
        result: Array = PRECISIONS[name].round(weight).astype(weight.dtype)
        return result

    return rounded


def _coarse_products(digits: int) -> Change:
    """Round both factors of the products with the kernel and with the recurrent kernel."""

    def change(layer: Layer) -> Layer | None:
        if not _wide(layer):
            return None
        cell = cell_of(layer)
        kernels = {
            name: kept(layer.weights[name].astype(np.float64), digits) for name in ("kernel", "recurrent_kernel")
        }
        return with_cell(
            with_weights(layer, **kernels),
            project=lambda x, weights, options: cell.project(kept(x, digits), weights, options),
            gates=lambda projected, h, weights, options: cell.gates(projected, kept(h, digits), weights, options),
        )

    return in_layer(change)


def _state_rounded(layer: Layer) -> Layer | None:
    """Hand h to the next step through bfloat16."""
    if not _wide(layer):
        return None
    return feeding(lambda h: kept(h, _BFLOAT16))(layer)


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


def _summed_in_float16(layer: Layer) -> Layer | None:
    if not _wide(layer):
        return None
    cell = cell_of(layer)

    def summing(weights: Weights) -> Weights:
        names = ("kernel", "recurrent_kernel")
        return {**weights, **{name: _SumsInFloat16(weights[name], layer.weights[name]) for name in names}}

    return with_cell(
        layer,
        project=lambda x, weights, options: cell.project(x, summing(weights), options),
        gates=lambda projected, h, weights, options: cell.gates(projected, h, summing(weights), options),
    )


_SERIES = np.polynomial.Chebyshev.interpolate(np.tanh, 57, domain=[-6.5, 6.5])


def _polynomial(v: Array) -> Array:
    """A Chebyshev series on [-6.5, 6.5], flat outside: tanh to 4e-6."""
    result: Array = _SERIES(np.clip(v, -6.5, 6.5))
    return result


def _pade(v: Array) -> Array:
    """x(135135 + 17325x² + 378x⁴ + x⁶)/(135135 + 62370x² + 3150x⁴ + 28x⁶), held within ±1: tanh to 1e-4."""
    x = np.clip(v, -5.0, 5.0)
    square = np.square(x)
    above = 135135.0 + square * (17325.0 + square * (378.0 + square))
    below = 135135.0 + square * (62370.0 + square * (3150.0 + 28.0 * square))
    result: Array = np.clip(x * above / below, -1.0, 1.0)
    return result


def _table(v: Array) -> Array:
    """The nearest of 256 entries between -8 and 8: sigmoid to 8e-3."""
    return 1.0 / (1.0 + np.exp(-np.rint(np.clip(v, -8.0, 8.0) * 16.0) / 16.0))


def _approximate(of: str, evaluate: Callable[[Array], Array]) -> Change:
    """Replace an activation by an approximation, which has the slope of what it approximates."""
    slopes: dict[str, Callable[[Array, Array], Array]] = {
        "tanh": lambda v, f: 1.0 - f * f,
        "sigmoid": lambda v, f: f * (1.0 - f),
    }
    function = Elementary(of, evaluate, slopes[of], lambda v, slope, e: slope + e, ACCURACY[of])
    activation = Activation(of, function=function)

    def change(layer: Layer) -> Layer | None:
        options = [key for key, value in layer.options.items() if isinstance(value, Activation) and value.name == of]
        return with_options(layer, **dict.fromkeys(options, activation)) if options else None

    return in_layer(change)


FAULTS = (
    Fault("tf32_products", "precision", "the factors of products are rounded to TF32", _coarse_products(_TF32)),
    Fault(
        "bfloat16_products",
        "precision",
        "the factors of products are rounded to bfloat16",
        _coarse_products(_BFLOAT16),
    ),
    Fault(
        "float16_accumulation",
        "precision",
        "products are added up in float16, from the first term to the last",
        in_layer(_summed_in_float16, ("SimpleRNN", "LSTM", "GRU")),
    ),
    Fault("float16_weights", "precision", "the weights are held in float16", _each_weight(_through("float16"))),
    Fault("bfloat16_weights", "precision", "the weights are held in bfloat16", _each_weight(_through("bfloat16"))),
    Fault("int8_weights", "precision", "the weights are held in 8 bits", _each_weight(int8)),
    Fault(
        "state_in_bfloat16",
        "precision",
        "h is handed from step to step in bfloat16",
        in_layer(_state_rounded),
        (ONE_STEP,),
    ),
    Fault(
        "tanh_polynomial",
        "precision",
        "tanh is a polynomial with an error of 4e-6",
        _approximate("tanh", _polynomial),
    ),
    Fault(
        "tanh_pade",
        "precision",
        "tanh is a quotient of polynomials with an error of 1e-4",
        _approximate("tanh", _pade),
    ),
    Fault("sigmoid_table", "precision", "sigmoid comes from a table of 256 entries", _approximate("sigmoid", _table)),
)
