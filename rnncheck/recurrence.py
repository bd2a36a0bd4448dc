"""The memory of a recurrent layer over many steps at once: c_t = a_t*c_{t-1} + b_t."""

from __future__ import annotations

import numpy as np

from rnncheck import kernels
from rnncheck.network import Array
from rnncheck.rounding import CROSS, Rounded
from rnncheck.screening import Screened


def recurrence(a: Screened, b: Screened, start: Rounded, counts: Array | None = None) -> Rounded:
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
    precision, shape = a.precision, a.shape
    if counts is None:
        counts = np.ones(shape[:2], bool)
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
