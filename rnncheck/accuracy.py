"""How accurate implementations of the elementary functions are."""

from collections.abc import Mapping

ACCURACY: Mapping[str, Mapping[str, tuple[float, float]]] = {
    f: {p: (9.0, 1.0) for p in ("float64", "float32", "float16", "bfloat16")}
    for f in ("tanh", "sigmoid", "softplus", "erf", "exp", "expm1", "log", "sqrt")
}
