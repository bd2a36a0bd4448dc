"""The memory of a recurrent layer over many steps at once: c_t = a_t*c_{t-1} + b_t."""

from __future__ import annotations

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding import loops as kernels
from rnncheck.rounding.estimates import Screened
from rnncheck.rounding.rounded import CROSS, Rounded


def recurrence(a: Rounded, b: Rounded, start: Rounded, counts: Array | None = None) -> Rounded:
    """Return c_t = a_t*c_{t-1} + b_t, t = 0 ... T, with a bound for each number.

    Bound e and noise q of c follow from those of the step before:

        e_t = (1+u)·[(1+u)·((|a| + ea)·e_{t-1} + |c_{t-1}|·ea) + u·|a·c_{t-1}| + tiny + eb] + u·|c_t|
        q_t = sqrt(a² + 18qa²)·q_{t-1} + sqrt(c_{t-1}²·(qa² + w·a²) + qb² + w·c_t²)

    The bound is that of the rules for * and +. Of the noise, the standard deviations of the steps add up instead of
    their variances: where the sequence changes little from one step to the next, so do its rounding errors, and a
    memory of k steps gathers k times the error of one, not sqrt(k) times.

    Args:
        a: (T, N, ..., M).
        b: (T, N, ..., M).
        start: c_0, (N, ..., M).
        counts: which steps count, (T, N) of booleans; c stays as it is at the others. None where all do.

    Returns:
        c from before the first step on, (T + 1, N, ..., M).
    """
    if isinstance(a, Screened):
        return _in_one_pass(a, b, start, np.ones(a.shape[:2], bool) if counts is None else counts)
    with np.errstate(invalid="ignore"):  # infinity times zero
        return _step_by_step(a, b, start, counts)


def _step_by_step(a: Rounded, b: Rounded, start: Rounded, counts: Array | None) -> Rounded:
    """Return the recurrence of numbers that have a bound each: c, then e and q, linear each."""
    precision, u, w = a.precision, a.precision.unit, a.precision.unit_variance
    counted = None if counts is None else counts.reshape(*counts.shape, *(1 for _ in a.shape[2:]))

    def where_counted(array: Array, otherwise: float) -> Array:
        return array if counted is None else np.where(counted, array, otherwise)

    def linear(factor: Array, term: Array, first: Array) -> Array:
        """Return x_t = factor_t*x_{t-1} + term_t."""
        result = np.empty((len(factor) + 1, *factor.shape[1:]))
        result[0] = first
        for t in range(len(factor)):
            np.multiply(factor[t], result[t], out=result[t + 1])
            result[t + 1] += term[t]
        return result

    x, ea, qa2 = where_counted(a.value, 1.0), a.bound, a.variance
    c = linear(x, where_counted(b.value, 0.0), start.value)
    before, after = np.abs(c[:-1]), np.abs(c[1:])
    inherited = (1.0 + u) ** 2 * (np.abs(x) + ea)
    own = (1.0 + u) * ((1.0 + u) * before * ea + u * np.abs(x) * before + precision.underflow + b.bound) + u * after
    e = linear(where_counted(inherited, 1.0), where_counted(own, 0.0), start.bound)
    steepness = np.sqrt(np.square(x) + CROSS * qa2)
    deviation = np.sqrt(np.square(before) * (qa2 + w * np.square(x)) + b.variance + w * np.square(after))
    q = linear(where_counted(steepness, 1.0), where_counted(deviation, 0.0), np.sqrt(start.variance))
    e[np.isnan(e)] = np.inf
    return Rounded(c, np.square(q), e, precision)


def _in_one_pass(a: Screened, b: Rounded, start: Rounded, counts: Array) -> Rounded:
    """Return the recurrence of the first look's numbers, which have one bound for all."""
    precision, shape = a.precision, a.shape
    value, variance = np.empty((shape[0] + 1, *shape[1:])), np.empty((shape[0] + 1, *shape[1:]))
    error = np.empty(value.shape, np.float32)
    value[0], variance[0], error[0] = start.value, start.variance, start.bound

    def wide(array: Array) -> Array:
        return np.ascontiguousarray(array).reshape(*array.shape[:2], -1)

    kernels.remember(
        wide(a.value),
        wide(a.variance),
        a.bound,
        wide(b.value),
        wide(b.variance),
        b.bound,
        np.ascontiguousarray(counts),
        precision.unit,
        precision.unit_variance,
        CROSS,
        precision.underflow,
        wide(value),
        wide(variance),
        wide(error),
    )
    error[np.isnan(error)] = np.inf  # infinity times zero, on the way
    return Rounded(value, variance, error, precision)
