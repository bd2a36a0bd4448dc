"""The memory over many steps against the same equation step by step."""

import numpy as np
import pytest

from rnncheck.equations import CELLS
from rnncheck.precision import PRECISIONS
from rnncheck.recurrence import recurrence
from rnncheck.rounding import Rounded
from rnncheck.screening import Screened

STEPS, SAMPLES, UNITS = 6, 4, 3
MASKS = {
    "none": None,
    "all": np.ones((STEPS, SAMPLES), bool),
    "padding": np.arange(STEPS)[:, np.newaxis] < np.array([0, 1, 4, 6]),
    "holes": np.arange(STEPS * SAMPLES).reshape(STEPS, SAMPLES) % 3 != 0,
}


def numbers(rng, shape, precision, low, high):
    error = rng.uniform(0.1, 1.0, shape) * precision.unit
    return Rounded(rng.uniform(low, high, shape), np.square(error) / 3.0, error, precision)


def step_by_step(a, b, start, counts):
    memories = [start]
    for t in range(a.shape[0]):
        after = a[t] * memories[-1] + b[t]
        counted = np.ones(a.shape[1], bool) if counts is None else counts[t]
        memories.append(Rounded.where(counted[:, np.newaxis], after, memories[-1]))
    return memories


@pytest.mark.parametrize("precision", [PRECISIONS[name] for name in ("float64", "float32", "float16", "bfloat16")])
@pytest.mark.parametrize("counts", MASKS.values(), ids=MASKS)
def test_recurrence_is_the_equation_step_by_step(rng, counts, precision):
    shape = (STEPS, SAMPLES, UNITS)
    a, b = numbers(rng, shape, precision, 0.0, 1.0), numbers(rng, shape, precision, -1.0, 1.0)
    start = numbers(rng, shape[1:], precision, -1.0, 1.0)

    result = recurrence(a, b, start, counts)

    expected = step_by_step(a, b, start, counts)
    assert result.shape == (STEPS + 1, SAMPLES, UNITS)
    for t, memory in enumerate(expected):
        np.testing.assert_array_equal(result.value[t], memory.value)
        np.testing.assert_allclose(result.variance[t], memory.variance, rtol=1e-6)
        assert (result.error[t] >= memory.bound * (1.0 - 1e-14)).all()
        np.testing.assert_allclose(result.error[t], memory.bound, rtol=1e-4)


@pytest.mark.parametrize("counts", MASKS.values(), ids=MASKS)
def test_recurrence_of_the_first_look_bounds_the_exact_one(rng, counts):
    precision = PRECISIONS["float32"]
    shape = (STEPS, SAMPLES, UNITS)
    exact = [numbers(rng, shape, precision, low, 1.0) for low in (0.0, -1.0)]
    start = rng.normal(size=shape[1:])
    rough = [Screened(x.value, x.variance.astype(np.float32), x.error.max(), precision) for x in exact]

    fast = recurrence(*rough, Rounded(start, 0.0, 0.0, precision), counts)
    full = recurrence(*exact, Rounded(start, 0.0, 0.0, precision), counts)

    np.testing.assert_array_equal(fast.value, full.value)
    np.testing.assert_allclose(fast.variance, full.variance, rtol=1e-4)
    assert (fast.error >= full.error * (1.0 - 1e-6)).all()


def test_what_is_masked_never_counts_not_even_nan(rng):
    precision = PRECISIONS["float32"]
    shape, counts = (STEPS, SAMPLES, UNITS), MASKS["padding"]
    a, b = numbers(rng, shape, precision, 0.0, 1.0), numbers(rng, shape, precision, -1.0, 1.0)
    start = numbers(rng, shape[1:], precision, -1.0, 1.0)
    clean = recurrence(a, b, start, counts)
    for part in (a.value, a.variance, a.error, b.value, b.variance, b.error):
        part[~counts] = np.nan

    result = recurrence(a, b, start, counts)

    for name in ("value", "variance", "error"):
        np.testing.assert_array_equal(getattr(result, name), getattr(clean, name))


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.memory is not None])
def test_memory_of_every_cell_is_the_recurrence_of_its_first_two_gates(rng, name):
    precision = PRECISIONS["float64"]
    gates = [numbers(rng, (1, SAMPLES, UNITS), precision, -1.0, 1.0) for _ in range(3)]
    c = numbers(rng, (SAMPLES, UNITS), precision, -1.0, 1.0)

    once = CELLS[name].memory(tuple(gate.value[0] for gate in gates), c.value)

    np.testing.assert_array_equal(recurrence(*gates[:2], c).value[1], once)
