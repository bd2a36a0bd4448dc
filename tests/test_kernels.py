"""The compiled loops beside the same loops as Python runs them, and how they are compiled."""

import subprocess
import sys

import numpy as np
import pytest

from rnncheck.rounding import loops as kernels

W, CROSS = 1e-3, 18.0


def numbers(rng, *shape):
    return rng.normal(size=shape)


def variances(rng, *shape):
    return rng.uniform(0.0, 1e-2, shape).astype(np.float32)


def outputs(*shape):
    return np.zeros(shape), np.zeros(shape, np.float32)


def calls(rng):
    """What each kernel is given; the arrays that it writes come last."""
    pair = (numbers(rng, 12), variances(rng, 12), numbers(rng, 12), variances(rng, 12))
    product = (numbers(rng, 3), W, 2.0, rng.random(4), rng.random(3))
    gates = (numbers(rng, 5, 2, 3), variances(rng, 5, 2, 3), 1e-3)
    memory = (numbers(rng, 6, 2, 3), variances(rng, 6, 2, 3), variances(rng, 6, 2, 3))
    counts = rng.random((5, 2)) > 0.4
    value = numbers(rng, 4, 3)
    return {
        "add": (*pair, W, *outputs(12)),
        "shift": (*pair[:2], -1.0, 0.3, W, 1e-4, *outputs(12)),
        "multiply_exact": (*pair[:3], W, *outputs(12)),
        "multiply": (*pair, W, CROSS, *outputs(12)),
        "apply": (*pair[:2], (0.0, 1.0, -1.0), W, 0.4, 1e-6, np.zeros(12, np.float32)),
        "logistic": (3.0 * numbers(rng, 12), 2.0, 40.0, 0.0, 1.0, np.zeros(12)),
        "close_product": (*product, value, np.zeros((4, 3), np.float32)),
        "close_two_products": (*product, numbers(rng, 4, 3), *product, W, value, np.zeros((4, 3), np.float32)),
        "remember": (*gates, *gates, counts, 1e-2, W, CROSS, 1e-6, *memory),
        "compare": (value.astype(np.float32), value, variances(rng, 4, 3), np.zeros((4, 3), np.float32)),
    }


@pytest.mark.parametrize("name", calls(np.random.default_rng(0)))
def test_compiled_loop_is_the_loop(name):
    kernel = getattr(kernels, name)
    given, again = (calls(np.random.default_rng(1))[name] for _ in range(2))

    result, expected = kernel(*given), kernel.__wrapped__(*again)

    np.testing.assert_allclose(np.array(result, float), np.array(expected, float), rtol=1e-12)
    for array, other in zip(given, again, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-6, atol=1e-12)


def test_every_kernel_is_tested():
    public = {name for name, value in vars(kernels).items() if hasattr(value, "__wrapped__")}

    assert public - {"loaded_for"} == set(calls(np.random.default_rng(0)))


def test_where_nothing_may_be_written_kernels_are_compiled_anew(tmp_path):
    script = """
import numpy as np, numba
compile_once = numba.njit
def refusing(kernel, cache=False, **options):
    if cache:
        raise RuntimeError("cannot cache function: no locator available")
    return compile_once(kernel, **options)
numba.njit = refusing
from rnncheck.rounding import loops as kernels
a, q = np.ones(3), np.zeros(3, np.float32)
kernels.add(a, q, a, q, 0.0, value := np.zeros(3), q.copy())
print(value.tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout == "[2.0, 2.0, 2.0]\n"
