"""Loops over whole blocks, compiled: each goes over its numbers once and lets go of the interpreter's lock.

Most are the rules of `rounding.rounded` for the first look; `logistic` is tanh and sigmoid themselves. Small runs
are checked without any of them. Arrays are contiguous; what a kernel computes is written to its last arguments.
Numba compiles a kernel when it is first called and keeps it on disk.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from rnncheck.network import Array

# log2(e); ln 2 in two parts, of which the first ends in zeros; 1.5·2^52, which rounds what is added to it to the
# nearest integer, in its last bits; the coefficients 1/k! of exp.
_LOG2_E = 1.4426950408889634


_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


_TO_INTEGER = 6755399441055744.0


_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = (1.0 / math.factorial(k) for k in range(2, 14))


_Arguments = ParamSpec("_Arguments")


_Result = TypeVar("_Result")


def _compiled(kernel: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    @cache
    def machine_code() -> Any:
        import numba  # takes half a second, and nobody needs it before

        options: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}  # a*b + c in one rounding
        try:
            return numba.njit(kernel, cache=True, **options)
        except RuntimeError:  # no folder that it may write to
            return numba.njit(kernel, **options)

    @wraps(kernel)
    def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        result: _Result = machine_code()(*arguments, **named)
        return result

    return call


# Runs whose largest layer has so few numbers do without: loading takes half a second.
FEW = 2**14


_spared = False


@contextlib.contextmanager
def loaded_for(numbers: int) -> Iterator[None]:
    """Keep tanh and sigmoid from loading a loop inside, where a run's largest layer has no more than `FEW` numbers.

    What a run of some size computes does not depend on what was computed before, to the last digit.
    """
    global _spared  # noqa: PLW0603 - it is the process that loads them
    before, _spared = _spared, _spared or numbers <= FEW
    try:
        yield
    finally:
        _spared = before


def are_spared() -> bool:
    """Whether nothing that NumPy can do should load a loop now."""
    return _spared


@_compiled
def close_product(
    constant: Array, w_constant: float, w_product: float, rows: Array, columns: Array, value: Array, variance: Array
) -> None:
    """Add b to p = a·W (R, M) in place: variance = w_product·p² + w_constant·(p + b)² + rows·columns."""
    for r in range(value.shape[0]):
        row = rows[r]
        for j in range(value.shape[1]):
            p = value[r, j]
            z = p + constant[j]
            value[r, j] = z
            variance[r, j] = w_product * p * p + w_constant * z * z + row * columns[j]


@_compiled
def close_two_products(
    constant: Array,
    w_constant: float,
    w_product: float,
    rows: Array,
    columns: Array,
    other: Array,
    other_constant: Array,
    w_other_constant: float,
    w_other: float,
    other_rows: Array,
    other_columns: Array,
    w: float,
    value: Array,
    variance: Array,
) -> None:
    """Add up two products with their constants in place of the first, with w for their sum."""
    for r in range(value.shape[0]):
        row, other_row = rows[r], other_rows[r]
        for j in range(value.shape[1]):
            p, q = value[r, j], other[r, j]
            with_constant, other_with_constant = p + constant[j], q + other_constant[j]
            z = with_constant + other_with_constant
            value[r, j] = z
            variance[r, j] = (
                w_product * p * p
                + w_constant * with_constant * with_constant
                + w_other * q * q
                + w_other_constant * other_with_constant * other_with_constant
                + w * z * z
                + row * columns[j]
                + other_row * other_columns[j]
            )


@_compiled
def add(a: Array, a_variance: Array, b: Array, b_variance: Array, w: float, value: Array, variance: Array) -> None:
    """a + b, with qa² + qb² + w·(a + b)²."""
    for k in range(a.size):
        z = a[k] + b[k]
        value[k] = z
        variance[k] = a_variance[k] + b_variance[k] + w * z * z


@_compiled
def shift(
    a: Array, a_variance: Array, sign: float, number: float, w: float, q: float, value: Array, variance: Array
) -> None:
    """sign·a + b for one number b of variance q, with qa² + q + w·(sign·a + b)²; sign is 1 or -1."""
    for k in range(a.size):
        z = sign * a[k] + number
        value[k] = z
        variance[k] = a_variance[k] + q + w * z * z


@_compiled
def multiply(
    a: Array, a_variance: Array, b: Array, b_variance: Array, w: float, cross: float, value: Array, variance: Array
) -> None:
    """a * b, with a²(w·b² + qb²) + qa²(b² + cross·qb²)."""
    for k in range(a.size):
        x, y, qa, qb = a[k], b[k], a_variance[k], b_variance[k]
        value[k] = x * y
        variance[k] = x * x * (w * y * y + qb) + qa * (y * y + cross * qb)


@_compiled
def multiply_exact(a: Array, a_variance: Array, b: Array, w: float, value: Array, variance: Array) -> None:
    """a * b for exact b, with b²(qa² + w·a²)."""
    for k in range(a.size):
        x, y = a[k], b[k]
        value[k] = x * y
        variance[k] = y * y * (a_variance[k] + w * x * x)


@_compiled
def apply(
    f: Array,
    a_variance: Array,
    slope: tuple[float, float, float],
    own: float,
    least: float,
    floor: float,
    variance: Array,
) -> None:
    """f(a), with (f'(a)·qa)² + own·max(|f|, least)² + floor; slope: the coefficients of f', a polynomial of f."""
    for k in range(f.size):
        y = f[k]
        steepness = slope[0] + y * (slope[1] + y * slope[2])
        variance[k] = steepness * steepness * a_variance[k] + own * max(y * y, least * least) + floor


@_compiled
def logistic(x: Array, scale: float, limit: float, constant: float, factor: float, value: Array) -> None:
    """(constant + factor·e)/(e + 2), where e = exp(y) - 1 and y = scale·x, held within ±limit, at most 708.

    y = k·ln 2 + r with |r| <= ln(2)/2, p = exp(r) - 1 by its series, e = 2^k·p + (2^k - 1).
    """
    for i in range(x.size):
        y = min(max(scale * x[i], -limit), limit)
        shifted = y * _LOG2_E + _TO_INTEGER
        k = shifted - _TO_INTEGER
        r = (y - k * _LN2_HIGH) - k * _LN2_LOW
        power = np.int64((np.float64(shifted).view(np.int64) << 52) + (1023 << 52)).view(np.float64)  # 2^k
        series = ((((_C13 * r + _C12) * r + _C11) * r + _C10) * r + _C9) * r + _C8
        series = (((((series * r + _C7) * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
        e = power * (r + r * r * series) + (power - 1.0)
        value[i] = (constant + factor * e) / (e + 2.0) if x[i] == x[i] else x[i]


@_compiled
def remember(
    a: Array,
    a_variance: Array,
    a_error: float,
    b: Array,
    b_variance: Array,
    b_error: float,
    counts: Array,
    unit: float,
    w: float,
    cross: float,
    underflow: float,
    value: Array,
    variance: Array,
    error: Array,
) -> None:
    """c_t = a_t*c_{t-1} + b_t: a and b (T, N, M), counts (T, N), and c (T + 1, N, M), of which c_0 is there.

    Standard deviations add up from step to step, not variances: see `rnncheck.rounding.recurrence`.
    """
    width = a.shape[2]
    row = np.empty(width, variance.dtype)
    once = 1.0 + unit
    raised, least = 1.0 + 2.0**-22, 2.0**-149  # what float32 may lose
    for t in range(a.shape[0]):
        for n in range(a.shape[1]):
            if not counts[t, n]:
                for k in range(width):
                    value[t + 1, n, k] = value[t, n, k]
                    variance[t + 1, n, k] = variance[t, n, k]
                    error[t + 1, n, k] = error[t, n, k]
                continue
            for k in range(width):
                value[t + 1, n, k] = a[t, n, k] * value[t, n, k] + b[t, n, k]
            for k in range(width):
                x, before, after, qa = a[t, n, k], value[t, n, k], value[t + 1, n, k], a_variance[t, n, k]
                inherited = math.sqrt((x * x + cross * qa) * variance[t, n, k])
                own = math.sqrt(before * before * (w * x * x + qa) + b_variance[t, n, k] + w * after * after)
                row[k] = (inherited + own) * (inherited + own)
            for k in range(width):
                variance[t + 1, n, k] = row[k]
            for k in range(width):
                x, before, after = abs(a[t, n, k]), abs(value[t, n, k]), abs(value[t + 1, n, k])
                inherited = once * ((x + a_error) * error[t, n, k] + before * a_error) + unit * x * before + underflow
                row[k] = raised * (once * (inherited + b_error) + unit * after) + least
            for k in range(width):
                error[t + 1, n, k] = row[k]


@_compiled
def compare(actual: Array, value: Array, variance: Array, squared_scores: Array) -> tuple[float, float, float, float]:
    """(actual - value)²/variance, all (R, M), 0 where nothing differs.

    Returns:
        The sums of the variance, of the squared scores and of |actual - value|, and the largest of these.
    """
    width = value.shape[1]
    noise, score, total, largest = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    for r in range(value.shape[0]):
        for j in range(width):
            difference = abs(actual[r, j] - value[r, j])
            squared_score = difference * difference / variance[r, j] if difference != 0.0 else 0.0
            squared_scores[r, j] = squared_score
            noise[j] += variance[r, j]
            score[j] += squared_score
            total[j] += difference
            largest[j] = max(largest[j], difference)
    return noise.sum(), score.sum(), total.sum(), largest.max()
