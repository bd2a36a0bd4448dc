"""How accurate are implementations of the activations? Sets the constants of `rnncheck.rounding.accuracy`.

    python -m experiments.activations [--quick]

For every elementary function the error of Keras' TensorFlow backend (eager and compiled by XLA) and of NumPy is
measured in units of u·|f|: over every float32 with 2^-40 <= |x| <= 104, every float16 and bfloat16 number, and ten
million float64 numbers against 80-bit arithmetic. `worst` is the largest error seen, `typical` the largest root mean
square over one binade (all x of one sign and exponent). Then every activation is held against its own bound at exact
arguments. The result is written to experiments/results/activations.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from experiments import records
from rnncheck.equations import activations
from rnncheck.frameworks.keras.build import THRESHOLD
from rnncheck.network import Activation, Array
from rnncheck.rounding.precision import PRECISIONS, Precision
from rnncheck.rounding.rounded import Rounded

CHUNK = 2**22
SMALLEST, LARGEST = 2.0**-40, 104.0

ELEMENTARY: dict[str, tuple[Any, Callable[[Any], Any], Any]] = {
    "tanh": (activations.tanh, tf.math.tanh, np.tanh),
    "sigmoid": (activations.sigmoid, tf.math.sigmoid, None),
    "softplus": (activations.softplus, tf.math.softplus, None),
    "erf": (activations.erf, tf.math.erf, None),
    "exp": (activations.exp, tf.math.exp, np.exp),
    "expm1": (activations.expm1, tf.math.expm1, np.expm1),
    "log": (activations.log, tf.math.log, np.log),
    "sqrt": (activations.sqrt, tf.math.sqrt, np.sqrt),
}


def float32_numbers(stride: int) -> Iterator[Array]:
    """Every stride-th float32 number with SMALLEST <= |x| <= LARGEST, in chunks of one sign."""
    first, last = (int(np.float32(x).view(np.uint32)) for x in (SMALLEST, LARGEST))
    for sign in (0, 0x80000000):
        for start in range(first, last + 1, CHUNK * stride):
            stop = min(start + CHUNK * stride, last + 1)
            bits = np.arange(start, stop, stride, dtype=np.uint64) + sign
            yield bits.astype(np.uint32).view(np.float32)


def numbers(precision: str, stride: int) -> Iterator[Array]:
    """Arguments of a precision, as an array that TensorFlow takes in it."""
    if precision == "float32":
        yield from float32_numbers(stride)
    elif precision == "float64":
        rng = np.random.default_rng(0)
        for _ in range(3):
            exponents = rng.uniform(-40, np.log2(LARGEST), CHUNK)
            yield np.exp2(exponents) * rng.choice([-1.0, 1.0], CHUNK)
    else:
        dtype = tf.as_dtype(precision).as_numpy_dtype
        every = np.arange(2**16, dtype=np.uint16).view(dtype)
        size = np.abs(every.astype(np.float32))
        yield every[(size >= SMALLEST) & (size <= LARGEST)]


def exact(function: Any, x: Array, precision: str) -> Array:
    """The function in a precision well above the one under test."""
    if precision != "float64":
        return np.asarray(function.evaluate(x.astype(np.float64)))
    wide = x.astype(np.longdouble)
    tail = np.exp(-np.abs(wide))
    formulas: dict[str, Callable[[], Array]] = {
        "sigmoid": lambda: np.where(wide >= 0, 1, tail) / (1 + tail),
        "softplus": lambda: np.maximum(wide, 0) + np.log1p(tail),
        "erf": lambda: function.evaluate(x),
    }
    if function.name in formulas:
        return formulas[function.name]()
    return np.asarray(getattr(np, function.name)(wide))


def implementations(name: str, precision: str) -> dict[str, Callable[[Array], Array]]:
    """Who computes the function: name -> x -> f(x) as float64 (longdouble for float64)."""
    _, in_tensorflow, in_numpy = ELEMENTARY[name]
    compiled = tf.function(in_tensorflow, jit_compile=True)
    wide = np.longdouble if precision == "float64" else np.float64
    found = {
        "tensorflow": lambda x: in_tensorflow(tf.constant(x)).numpy().astype(wide),
        "tensorflow xla": lambda x: compiled(tf.constant(x)).numpy().astype(wide),
    }
    if name == "expm1":
        found["tensorflow exp(x) - 1"] = lambda x: (tf.math.exp(x) - tf.ones_like(x)).numpy().astype(wide)
        found["tensorflow elu"] = lambda x: tf.nn.elu(tf.constant(-np.abs(x))).numpy().astype(wide)
    if name == "softplus":
        found["tensorflow log(1 + exp(x))"] = lambda x: (
            tf.math.log(tf.ones_like(x) + tf.math.exp(np.minimum(x, 11))).numpy().astype(wide)
        )
    if in_numpy is not None and precision in ("float32", "float64"):
        found["numpy"] = lambda x: in_numpy(x).astype(wide)
    return found


def measure(name: str, precision: Precision, stride: int) -> dict[str, dict[str, float]]:
    """Worst and typical error of each implementation of a function, in units of u·|f|."""
    function, u = ELEMENTARY[name][0], 2.0**-precision.digits
    runs = implementations(name, precision.name)
    worst = dict.fromkeys(runs, 0.0)
    at = dict.fromkeys(runs, 0.0)
    energy: dict[str, dict[int, Array]] = {run: {} for run in runs}
    for x in numbers(precision.name, stride):
        if name in ("log", "sqrt"):
            x = np.abs(x)
        if name == "expm1":
            x = -np.abs(x)
        expected = exact(function, x, precision.name)
        # Below the normal numbers only absolute accuracy is promised; `tiny` covers that.
        keep = (np.abs(expected) > 2.0**-120) & (np.abs(expected) < 1e37) & (expected != 0)
        if precision.name == "float16":
            keep &= (np.abs(expected) > 2.0**-14) & (np.abs(expected) < 65000.0)
        binade = np.frexp(x.astype(np.float64))[1] * 2 + (x.astype(np.float64) < 0)
        for run, compute in runs.items():
            if run == "tensorflow log(1 + exp(x))":
                keep = keep & (x < 11)  # above, exp overflows in float16
            error = np.abs((compute(x) - expected)[keep] / (u * (np.abs(expected[keep]) + function.offset)))
            error = error.astype(np.float64)
            if not error.size:
                continue
            place = int(error.argmax())
            if error[place] > worst[run]:
                worst[run], at[run] = float(error[place]), float(x[keep][place])
            kept = binade[keep]
            for which in np.unique(kept):
                selected = error[kept == which]
                total = energy[run].setdefault(int(which), np.zeros(2))
                total += (np.sum(np.square(selected)), selected.size)
    return {
        run: {
            "worst": round(worst[run], 3),
            "worst_at": at[run],
            "typical": round(max(float(np.sqrt(s / n)) for s, n in energy[run].values()), 3),
            "overall": round(
                float(np.sqrt(sum(s for s, _ in energy[run].values()) / sum(n for _, n in energy[run].values()))), 3
            ),
        }
        for run in runs
    }


def hold_activation(name: str, precision: Precision, stride: int) -> dict[str, float]:
    """Hold Keras' activation against its own bound and noise at exact arguments; rows of 4 units.

    It runs eagerly, as a graph (in which TensorFlow fuses some activations) and compiled by XLA.
    """
    parameters = THRESHOLD if name == "threshold" else {}
    in_keras = functools.partial(getattr(keras.activations, name), **parameters)
    ways = (in_keras, tf.function(in_keras), tf.function(in_keras, jit_compile=True))
    use = score = energy = count = 0.0
    for x in numbers(precision.name, stride):
        x = np.random.default_rng(0).permutation(x)[: x.size // 4 * 4].reshape(-1, 4)
        x = x[: 2**18]
        argument = Rounded(x.astype(np.float64), 0.0, 0.0, precision)
        expected = activations.activate(Activation(name, parameters), argument)
        bound = np.broadcast_to(expected.bound, expected.shape)
        for way in ways:
            actual = keras.ops.convert_to_numpy(way(tf.constant(x))).astype(np.float64)
            difference = np.abs(actual - expected.value)
            keep = np.isfinite(difference) & (np.abs(expected.value) < precision.largest)
            with np.errstate(all="ignore"):
                ratio = np.where(difference > 0, difference / bound, 0.0)[keep]
                scores = np.where(difference > 0, difference / expected.noise, 0.0)[keep]
            use, score = max(use, float(ratio.max())), max(score, float(scores.max()))
            energy, count = energy + float(np.sum(np.square(scores))), count + scores.size
    return {
        "bound_use": round(use, 3),
        "score_max": round(score, 3),
        "score_rms": round(float(np.sqrt(energy / count)), 3),
        "count": int(count),
    }


def main() -> None:
    """Scan, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every 997th float32 number; writes nothing")
    quick = parser.parse_args().quick
    stride = 997 if quick else 1
    result: dict[str, Any] = {
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    }
    with np.errstate(all="ignore"):
        for name in ELEMENTARY:
            for precision in PRECISIONS.values():
                # erf has no vector form in NumPy, and takes a hundred times longer
                measured = measure(name, precision, stride * (97 if name == "erf" else 1))
                result.setdefault("elementary", {}).setdefault(name, {})[precision.name] = measured
                print(name, precision.name, json.dumps(measured), flush=True)
        for name in activations.ACTIVATIONS:
            if name == "sparsemax":
                continue  # Keras 3.15 computes another function: keras issue 23425
            for precision in PRECISIONS.values():
                held = hold_activation(name, precision, stride * 211)
                result.setdefault("activations", {}).setdefault(name, {})[precision.name] = held
                print(name, precision.name, json.dumps(held), flush=True)
    if not quick:
        path = records.write("activations", result)
        print(f"written: {path.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
