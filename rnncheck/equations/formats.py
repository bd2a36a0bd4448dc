"""What a program may compute in, and which of it a run looks like.

A format is a change of a Network, as a fault is: the changed Network says what a program in that format is expected
to compute, and how much rounding may move it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncheck.equations.arithmetic import KERNELS
from rnncheck.equations.cells import CELLS
from rnncheck.equations.changes import Factor, with_factors, with_weights
from rnncheck.equations.layers import operation_of
from rnncheck.equations.operands import X
from rnncheck.errors import InputError
from rnncheck.network import Array, Layer, Network
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import EXACT, REACH, Rounded


@dataclass(frozen=True)
class Format:
    """What a program may compute in."""

    summary: str  # for a reader
    change: Callable[[Network], Network]  # network -> what is expected of it
    stored: str = "float32"  # the floating-point format in which its results are
    # network -> what most programs compute in the format, to float32 rounding; None where `change` says that
    usual: Callable[[Network], Network] | None = None


def _every_layer(change: Callable[[Layer], Layer]) -> Callable[[Network], Network]:
    return lambda network: replace(network, layers=tuple(map(change, network.layers)))


def _in(dtype: str) -> Callable[[Network], Network]:
    return _every_layer(lambda layer: replace(layer, dtype=dtype))


def _in_float64(network: Network) -> Network:
    # From inputs that nobody rounds before.
    inputs = tuple(replace(s, dtype="float64") if s.dtype in PRECISIONS else s for s in network.inputs)
    return _in("float64")(replace(network, inputs=inputs))


def _products(digits: int) -> Callable[[Network], Network]:
    # The factors of products have so many digits, cut or rounded; the sums are float32.
    unit = 2.0**-digits

    def coarse(x: X, kernel: Any, _: str) -> X:
        # The factor has the error of both. A plain array as kernel is no analysis.
        if not isinstance(kernel, Matrix):
            return x
        lifted = beside(kernel, x)
        size = unit * np.abs(lifted.value)
        # Where both are cut off, each is off by two units; a number rounded anywhere in ±size has variance size²/3.
        error = lifted.bound + 2.0 * (2.0 * size) if lifted.bounded else None
        return lifted.like(lifted.value, lifted.variance + 2.0 * (np.square(size) / 3.0), error)

    change = _every_layer(lambda layer: with_factors_everywhere(layer, coarse, unit))
    return lambda network: change(_in("float32")(network))


def beside(kernel: Any, x: X) -> Rounded:
    """Return numbers that meet a kernel of an analysis as `Rounded`; those that were observed have no error."""
    return x if isinstance(x, Rounded) else Rounded(x, EXACT, EXACT, kernel.precision, bounds=kernel.bounds)


def kept(x: X, digits: int) -> X:
    """Return numbers rounded to nearest at so many significant binary digits.

    Where the implementation's number may lie on the other side of a tie, bound and noise reach over the gap.
    """
    value = x.value if isinstance(x, Rounded) else x
    mantissa, exponent = np.frexp(value)
    scaled, unit = np.ldexp(mantissa, digits), np.ldexp(1.0, exponent - digits)
    whole = np.rint(scaled)
    if not isinstance(x, Rounded):
        return whole * unit
    to_tie = (0.5 - np.abs(scaled - whole)) * unit
    variance = np.where(to_tie > REACH * x.noise, x.variance, x.variance + np.square(unit))
    bound = np.where(to_tie > x.bound, x.bound, x.bound + unit) if x.bounded else None
    return x.like(whole * unit, variance, bound)


def with_kept_factors(layer: Layer, digits: int) -> Layer:
    """Return a layer whose products round both factors to so many digits, and are added up in full."""
    kernels = {k: kept(w.astype(np.float64), digits) for k, w in layer.weights.items() if k in KERNELS}
    return with_factors_everywhere(with_weights(layer, **kernels), lambda x, *_: kept(x, digits), 2.0**-digits)


def with_factors_everywhere(layer: Layer, change: Factor, unit: float) -> Layer:
    """Return a layer, with states or without, that multiplies with each kernel what `change` makes of x.

    `unit` is the unit roundoff of its products.
    """
    if not KERNELS & set(layer.weights):
        return layer
    if layer.kind in CELLS:
        return with_factors(layer, change, unit=unit)
    operation, first = operation_of(layer), next(name for name in layer.weights if name in KERNELS)

    def apply(inputs: Sequence[X], weights: Mapping[str, Any], options: Mapping[str, Any]) -> X:
        # A second product inside the layer multiplies what `factor` makes of the first one's result.
        factors = [change(x, weights[first], first) for x in inputs]
        return operation.apply(factors, weights, {**options, "factor": change})

    return replace(layer, equations=replace(operation, apply=apply))


def _usual_products(digits: int) -> Callable[[Network], Network]:
    to_float32, change = _in("float32"), _every_layer(lambda layer: with_kept_factors(layer, digits))
    return lambda network: change(to_float32(network))


def _int8_weights(network: Network) -> Network:
    # Kernels alone: programs with 8-bit weights keep biases in more.
    def change(layer: Layer) -> Layer:
        return with_weights(layer, **{name: int8(w) for name, w in layer.weights.items() if name in KERNELS})

    return _every_layer(change)(_in("float32")(network))


# From the finest to the coarsest; by the name that the command line takes.
FORMATS: Mapping[str, Format] = {
    "float64": Format("float64", _in_float64, "float64"),
    "float32": Format("float32", _in("float32")),
    "tf32": Format("TF32 products", _products(11), usual=_usual_products(11)),
    "float16": Format("float16", _in("float16"), "float16"),
    "int8": Format("8-bit weights, a scale for each array", _int8_weights),
    "bfloat16_products": Format("bfloat16 products, summed in float32", _products(8), usual=_usual_products(8)),
    "bfloat16": Format("bfloat16", _in("bfloat16"), "bfloat16"),
}


def in_format(network: Network, name: str) -> Network:
    """Return what is expected of a program that computes in a format.

    Raises:
        InputError: there is no such format.
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise InputError(f"precision: got {name!r}; expected one of {', '.join(FORMATS)}.")
    return FORMATS[name].change(network)


def own_format(network: Network) -> str:
    """Return what the network itself says that it computes in: its recurrent layers, where there are any."""
    # Other layers may have another: the head of a mixed model is often float32.
    recurrent = [layer for layer in network.layers if layer.kind in CELLS]
    dtypes = dict.fromkeys(layer.dtype for layer in recurrent or network.layers)
    return " and ".join(dtypes)


def int8(weight: Array) -> Array:
    """Round to 255 levels from the largest weight to its negative."""
    scale = np.abs(weight).max() / 127.0
    levels: Array = np.rint(weight / scale) * scale if scale else weight
    return levels.astype(weight.dtype)
