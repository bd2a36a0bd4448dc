"""How accurate implementations of the elementary functions are: the c and k of the rule for f(a).

c is the largest error that an implementation may have, k the root mean square that it typically has where it is
worst, both in units of u·|f| (for expm1 and softplus, u·(|f| + 1)). They are set from `make scan`, which writes
experiments/results/activations.json: c is the worst error seen there in any implementation plus a quarter, for
processors that take other paths through the same libraries; k is the largest root mean square over one binade of
arguments in any implementation, and at least that of correct rounding, 1/sqrt(3). A test holds them to that file.
"""

from __future__ import annotations

from collections.abc import Mapping

ACCURACY: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "tanh": {"float64": (10.4, 2.45), "float32": (7.7, 1.84), "float16": (1.3, 0.58), "bfloat16": (1.2, 0.58)},
    "sigmoid": {"float64": (4.2, 1.03), "float32": (10.5, 2.62), "float16": (3.1, 1.26), "bfloat16": (2.8, 1.26)},
    "softplus": {"float64": (4.0, 0.72), "float32": (4.1, 0.68), "float16": (3.1, 0.85), "bfloat16": (4.6, 1.64)},
    "erf": {"float64": (5.3, 1.3), "float32": (7.7, 1.66), "float16": (1.3, 0.58), "bfloat16": (1.3, 0.58)},
    "exp": {"float64": (2.9, 0.59), "float32": (4.5, 1.18), "float16": (1.3, 0.77), "bfloat16": (1.3, 0.77)},
    "expm1": {"float64": (1.9, 0.58), "float32": (1.8, 0.58), "float16": (0.7, 0.58), "bfloat16": (0.7, 0.58)},
    "log": {"float64": (2.4, 0.89), "float32": (5.8, 0.91), "float16": (1.3, 0.63), "bfloat16": (1.3, 0.58)},
    "sqrt": {"float64": (1.3, 0.58), "float32": (1.3, 0.58), "float16": (1.3, 0.58), "bfloat16": (1.3, 0.58)},
}

# By how much larger the errors of a GRU's gates are in ONNX Runtime in float32 where they are saturated, from
# `python -m experiments.onnx_activations`: of large arguments both functions are a number near 1, and not 1.
SATURATED: Mapping[str, float] = {"tanh": 4.4, "sigmoid": 3.9}
