"""The memory of a recurrent layer over many steps at once: c_t = a_t*c_{t-1} + b_t.

All that does not depend on the step before is computed for all steps together, so that a step costs two operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding import SPREAD, Rounded

# Keeps a bound above what it bounds where float32 rounds it.
_RAISED = 1.0 + 2.0**-20


def recurrence(a: Rounded, b: Rounded, start: Rounded, counts: Array | None = None) -> Rounded:
    """Return c_t = a_t*c_{t-1} + b_t, t = 0 ... T, by the rules for * and +.

    Bound e and variance q² of c are linear in those of the step before:

        e_t  = (1+u)²·(|a| + ea)·e_{t-1} + |c_{t-1}|·((1+u)²·ea + (1+u)·u·|a|) + (1+u)·(eb + tiny) + u·|c_t|
        q_t² = (a² + 18qa²)·q_{t-1}² + c_{t-1}²·(qa² + w·a²) + qb² + w·c_t²

    Args:
        a: (T, N, ...), with bounds.
        b: (T, N, ...), with bounds.
        start: c_0, (N, ...).
        counts: which steps count, (T, N) of booleans; c stays as it is at the others. None where all do.

    Returns:
        c from before the first step on, (T + 1, N, ...).
    """
    unit, w, underflow = a.precision.unit, a.precision.unit_variance, a.precision.underflow
    dtype = np.asarray(a.variance).dtype
    stays = None if counts is None else ~counts.reshape(counts.shape + (1,) * (len(a.shape) - 2))

    def run(factors: Array, sources: Array, first: Any) -> Array:
        if stays is not None:
            factors, sources = np.where(stays, 1.0, factors), np.where(stays, 0.0, sources)
        return _run(factors, sources, first)

    value = run(a.value, b.value, start.value)
    size_a, size = (np.abs(x.astype(dtype)) for x in (a.value, value))
    raised = _RAISED * (1.0 + unit)
    own = size[:-1] * (raised * unit * size_a + raised * (1.0 + unit) * a.bound)
    error = run(
        raised * (1.0 + unit) * (size_a + a.bound),
        own + (_RAISED * unit * size[1:] + raised * (b.bound + underflow)),
        start.bound,
    )
    energy_a, energy = np.square(size_a), np.square(size)
    own = energy[:-1] * (w * energy_a + a.variance)
    variance = run(energy_a + 2.0 * SPREAD**2 * a.variance, own + (w * energy[1:] + b.variance), start.variance)
    return Rounded(value, variance, error, a.precision)


def _run(factors: Array, sources: Array, first: Any) -> Array:
    """Return v_t = factor_t*v_{t-1} + source_t from v_0 on: factors and sources (T, N, ...) -> (T + 1, N, ...)."""
    values = np.empty((len(factors) + 1, *factors.shape[1:]), factors.dtype)
    values[0] = first
    for factor, source, before, after in zip(factors, sources, values, values[1:], strict=False):
        np.multiply(factor, before, out=after)
        np.add(after, source, out=after)
    return values
