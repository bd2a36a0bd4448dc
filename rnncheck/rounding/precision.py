"""The number formats that an implementation may compute in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from rnncheck.network import Array

# The replay itself computes in float64: its own unit roundoff.
_REPLAY_ROUNDOFF = 2.0**-53

# Bounds are computed in floating point themselves; this covers the rounding of their own arithmetic.
_HEADROOM = 1.0 + 2.0**-10


@dataclass(frozen=True)
class Precision:
    """A floating-point format as rounding-error analysis sees it.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 2.1 and 2.4.
    """

    name: str  # NumPy's or Keras' name of the format
    digits: int  # significant binary digits p; the unit roundoff is u = 2^-p
    # The largest absolute error of a result near the smallest normal numbers: four times the smallest, since hardware
    # may flush to zero and sigmoid's exp(-x) overflows a little earlier.
    underflow: float
    largest: float  # the largest finite number
    # Whether implementations may cut the digits of a sum of products off instead of rounding it: TensorFlow does, in
    # bfloat16, on processors without instructions for it.
    truncates_products: bool = False

    @cached_property
    def unit(self) -> float:
        """The u of every bound: the implementation's roundoff plus the replay's own 2^-53."""
        return (2.0**-self.digits + _REPLAY_ROUNDOFF) * _HEADROOM

    @cached_property
    def unit_variance(self) -> float:
        """The variance u²/3 of one relative rounding error, of both sides together."""
        return (4.0**-self.digits + _REPLAY_ROUNDOFF**2) / 3.0

    @cached_property
    def safe_variance(self) -> float:
        """A variance below which a rounded number is far below the largest: w·v², for v an eighth of that."""
        eighth = self.largest / 8.0
        return self.unit_variance * eighth * eighth

    @cached_property
    def least_variance(self) -> float:
        """The least variance of a number: that of underflow, but not less than float64 holds in full."""
        return max(self.underflow**2, float(np.finfo(np.float64).tiny))

    @cache  # noqa: B019 - there are four formats, which live as long as the process, and few constants
    def rounds(self, number: float) -> bool:
        """Whether the format does not have a number."""
        return bool(self.round(np.array(number)) != number)

    def gamma(self, roundings: int) -> float:
        """Return γ_k = k·u / (1 - k·u), or infinity where k·u reaches 1 (Higham, lemma 3.1)."""
        share = roundings * self.unit
        return share / (1.0 - share) if share < 1.0 else np.inf

    def round(self, array: Array) -> Array:
        """Return the array rounded to nearest, ties to even, in this format, held in float64.

        To bfloat16 it goes by way of float32, as frameworks do.
        """
        if _name(array.dtype) == self.name:
            return array.astype(np.float64)
        with np.errstate(over="ignore"):
            if self.name == "bfloat16":
                return _round_to_bfloat16(np.asarray(array, np.float32)).astype(np.float64)
            return np.asarray(array).astype(self.name).astype(np.float64)


@cache
def _name(dtype: np.dtype[Any]) -> str:
    # A dtype's name, which NumPy works out anew each time.
    return dtype.name


def _round_to_bfloat16(array: Array) -> Array:
    # Round float32 numbers to the 8 significant digits of bfloat16 (NaN stays NaN).
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    to_even = 0x7FFF + ((bits >> 16) & 1)
    rounded = ((bits + to_even) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return np.where(np.isnan(array), array, rounded.reshape(array.shape))


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float64", digits=53, underflow=2.0**-1020, largest=(2.0 - 2.0**-52) * 2.0**1023),
        Precision("float32", digits=24, underflow=2.0**-124, largest=(2.0 - 2.0**-23) * 2.0**127),
        Precision("float16", digits=11, underflow=2.0**-12, largest=65504.0),
        Precision(
            "bfloat16",
            digits=8,
            underflow=2.0**-124,
            largest=(2.0 - 2.0**-7) * 2.0**127,
            truncates_products=True,
        ),
    )
}
