"""The memory of a recurrent layer over many steps at once: c_t = a_t*c_{t-1} + b_t."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding.rounded import CROSS, Rounded, plus, squares, variance_type, within


def recurrence(a: Rounded, b: Rounded, start: Rounded, counts: Array | None = None) -> Rounded:
    """Return c_t = a_t*c_{t-1} + b_t, t = 0 ... T, with a bound for each number where a and b have one.

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
    counted = None if counts is None else counts.reshape(*counts.shape, *(1 for _ in a.shape[2:]))

    def linear(factor: Array, term: Array, first: Any) -> Array:
        """Return x_t = factor_t*x_{t-1} + term_t, and x_{t-1} at steps that do not count."""
        if counted is not None:
            factor, term = np.where(counted, factor, 1.0), np.where(counted, term, 0.0)
        result = np.empty((len(factor) + 1, *factor.shape[1:]), np.result_type(factor, term))
        result[0] = first
        for t in range(len(factor)):
            np.multiply(factor[t], result[t], out=result[t + 1])
            result[t + 1] += term[t]
        return result

    precision, u, w = a.precision, a.precision.unit, a.precision.unit_variance
    of_type = variance_type(precision, a.bounds)
    with np.errstate(invalid="ignore"):  # infinity times zero
        c = linear(a.value, b.value, start.value)
        square = squares(a.value, 1.0, of_type)
        steepness = np.sqrt(square + CROSS * a.variance)
        own = squares(c[:-1], 1.0, of_type) * plus(square * w, a.variance)
        own = plus(plus(own, b.variance), squares(c[1:], w, of_type))
        q = linear(steepness, np.sqrt(own), np.sqrt(start.variance))
        variance = within(precision.largest, np.abs(c), np.square(q))
        if not a.bounded:
            return a.like(c, variance, None)
        before, after, ea = np.abs(c[:-1]), np.abs(c[1:]), a.bound
        inherited = (1.0 + u) ** 2 * (np.abs(a.value) + ea)
        of_step = (1.0 + u) * before * ea + u * np.abs(a.value) * before + precision.underflow + b.bound
        e = linear(inherited, (1.0 + u) * of_step + u * after, start.bound)
        e[np.isnan(e)] = np.inf
    return a.like(c, variance, e)
