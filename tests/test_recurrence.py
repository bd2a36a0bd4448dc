"""The memory over many steps against the same equation step by step."""

from dataclasses import replace

import numpy as np
import pytest

from rnncheck.equations.cells import CELLS
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.recurrence import recurrence
from rnncheck.rounding.rounded import CROSS, Bounds, Rounded

STEPS, SAMPLES, UNITS = 6, 4, 3
MASKS = {
    "none": None,
    "all": np.ones((STEPS, SAMPLES), bool),
    "padding": np.arange(STEPS)[:, np.newaxis] < np.array([0, 1, 4, 6]),
    "holes": np.arange(STEPS * SAMPLES).reshape(STEPS, SAMPLES) % 3 != 0,
}


def numbers(rng, shape, precision, low, high):
    error = rng.uniform(0.1, 0.7, shape) * precision.unit
    return Rounded(rng.uniform(low, high, shape), rng.uniform(0.1, 0.3, shape) * error**2, error, precision)


def without_bounds(x):
    variance = x.variance if x.precision.digits > 24 else x.variance.astype(np.float32)
    return Rounded(x.value, variance, None, x.precision, bounds=Bounds.LEFT_OUT)


def step_by_step(a, b, start, counts):
    memories = [start]
    for t in range(a.shape[0]):
        after = a[t] * memories[-1] + b[t]
        counted = np.ones(a.shape[1], bool) if counts is None else counts[t]
        memories.append(Rounded.where(counted[:, np.newaxis], after, memories[-1]))
    return memories


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("counts", MASKS.values(), ids=MASKS)
def test_recurrence_is_the_equation_step_by_step(rng, counts, precision):
    shape = (STEPS, SAMPLES, UNITS)
    a, b = numbers(rng, shape, precision, 0.0, 1.0), numbers(rng, shape, precision, -1.0, 1.0)
    start = numbers(rng, shape[1:], precision, -1.0, 1.0)

    result = recurrence(a, b, start, counts)

    assert result.shape == (STEPS + 1, SAMPLES, UNITS)
    for t, memory in enumerate(step_by_step(a, b, start, counts)):
        np.testing.assert_allclose(result.value[t], memory.value, rtol=1e-15, atol=1e-15)
        assert (result.error[t] >= memory.bound * (1.0 - 1e-7)).all()
        np.testing.assert_allclose(result.error[t], memory.bound, rtol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_noise_of_the_steps_adds_up_as_if_every_step_made_the_same_error(rng, precision):
    shape, w = (STEPS, SAMPLES, UNITS), precision.unit_variance
    a, b = numbers(rng, shape, precision, 0.0, 1.0), numbers(rng, shape, precision, -1.0, 1.0)
    start = numbers(rng, shape[1:], precision, -1.0, 1.0)

    result = recurrence(a, b, start)

    c, noise = start.value, np.sqrt(start.variance)
    for t in range(STEPS):
        after = a.value[t] * c + b.value[t]
        own = c**2 * (a.variance[t] + w * a.value[t] ** 2) + b.variance[t] + w * after**2
        noise = np.sqrt(a.value[t] ** 2 + CROSS * a.variance[t]) * noise + np.sqrt(own)
        c = after
        np.testing.assert_allclose(np.sqrt(result.variance[t + 1]), noise, rtol=1e-5)


@pytest.mark.parametrize("which", ["decay", "gain", "start"])
def test_unknown_bound_makes_that_of_the_memory_unknown(rng, which):
    precision, shape = PRECISIONS["float32"], (STEPS, SAMPLES, UNITS)
    a, b = numbers(rng, shape, precision, 0.0, 1.0), numbers(rng, shape, precision, -1.0, 1.0)
    start = Rounded(np.zeros(shape[1:]), 0.0, 0.0, precision)
    if which == "decay":
        a.error = np.inf
    elif which == "gain":
        b.error = np.inf
    else:
        start.error = np.inf

    result = recurrence(a, b, start)

    assert np.isinf(result.error[1:]).all()


def test_what_is_masked_never_counts_not_even_nan(rng):
    precision = PRECISIONS["float32"]
    shape, counts = (STEPS, SAMPLES, UNITS), MASKS["padding"]
    a, b = numbers(rng, shape, precision, 0.0, 1.0), numbers(rng, shape, precision, -1.0, 1.0)
    start = numbers(rng, shape[1:], precision, -1.0, 1.0)
    clean = recurrence(a, b, start, counts)
    for part in (a.value, a.variance, b.value, b.variance):
        part[~counts] = np.nan

    result = recurrence(a, b, start, counts)

    for name in ("value", "variance", "error"):
        np.testing.assert_array_equal(getattr(result, name), getattr(clean, name))


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.remembers])
def test_memory_of_every_cell_is_the_recurrence_of_its_first_two_gates(rng, name):
    precision = PRECISIONS["float64"]
    gates = [numbers(rng, (1, SAMPLES, UNITS), precision, -1.0, 1.0) for _ in range(3)]
    c = numbers(rng, (SAMPLES, UNITS), precision, -1.0, 1.0)
    cell = replace(
        CELLS[name],
        gates=lambda *arguments: tuple(gate.value[0] for gate in gates),
        output=lambda gates, c, weights, options: c,
        peek=(lambda gates, *_: gates) if CELLS[name].peek else None,
    )

    _, once = cell.step(None, (None, c.value), {}, {})

    np.testing.assert_allclose(recurrence(*gates[:2], c).value[1], once, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("counts", MASKS.values(), ids=MASKS)
def test_noise_is_the_same_without_bounds(rng, counts, precision):
    shape = (STEPS, SAMPLES, UNITS)
    numbers_ = [numbers(rng, size, precision, -1.0, 1.0) for size in (shape, shape, shape[1:])]

    full, without = (recurrence(*map(kind, numbers_), counts) for kind in (lambda x: x, without_bounds))

    assert without.bound is None
    np.testing.assert_array_equal(without.value, full.value)
    np.testing.assert_allclose(without.variance, full.variance, rtol=1e-5)


def test_outlier_of_an_earlier_step_leaves_no_noise_behind_it_where_it_has_none():
    """The noise of c is computed for each number: one that the others do not have is not handed to them."""
    precision = PRECISIONS["float32"]
    a, b = (Rounded(np.full((5, 2, 1), 0.5), np.full((5, 2, 1), 1e-16), None, precision, bounds=Bounds.LEFT_OUT),) * 2
    start = Rounded(np.zeros((2, 1)), 0.0, None, precision, bounds=Bounds.LEFT_OUT)
    spoilt = Rounded(b.value, b.variance.copy(), None, precision, bounds=Bounds.LEFT_OUT)
    spoilt.variance[0, 0] = 1.0

    clean, noisy = recurrence(a, b, start), recurrence(a, spoilt, start)

    np.testing.assert_array_equal(noisy.variance[:, 1], clean.variance[:, 1])
    np.testing.assert_allclose(np.sqrt(noisy.variance[-1, 0]), 0.5**4, rtol=1e-5)
