"""Value, noise and bound of every kind of number, to be held against those that were kept.

    make figures

A bound that is too wide, or a noise that is a little too large, makes no right run wrong: no other test would notice.
So whoever changes the arithmetic on purpose keeps new figures, and looks at which of them moved.
"""

import json
from pathlib import Path

import numpy as np
from reference import CELLS, make_inputs, make_network
from test_activations import PARAMETERS
from test_layers import CASES, as_matrix, draw, drawn_weights, options_of

from rnncheck.equations.activations import ACTIVATIONS, KERAS2_ACTIVATIONS, activate
from rnncheck.equations.arithmetic import FREE_RUNNING, KERNELS, Analysis
from rnncheck.equations.layers import LAYERS
from rnncheck.equations.replay import replay
from rnncheck.network import Activation
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix, OrderedMatrix
from rnncheck.rounding.recurrence import recurrence
from rnncheck.rounding.rounded import Bounds, Rounded

KEPT = Path(__file__).with_suffix(".json")

# How far the inputs may be off, as a share of them.
OFF = {"exact": 0.0, "off": 1e-3, "far off": 0.1}


def figures():
    """Yield the name of each thing that is computed, and its figures."""
    with np.errstate(all="ignore"):
        for dtype, precision in PRECISIONS.items():
            for bounds in Bounds if dtype == "float32" else [Bounds.CARRIED]:
                for name, result in _computed(precision, bounds):
                    yield f"{dtype}, {bounds.value}: {name}", summed(result)


def summed(result):
    """[value, noise, bound], each a weighted sum over the finite ones, and how many of the noises are infinite."""
    if not isinstance(result, Rounded):
        return [_sum(result)]
    noise = result.noise
    return [_sum(result.value), _sum(noise), _sum(result.bound), int(np.isinf(noise).sum())]


def _sum(numbers):
    if numbers is None:
        return None
    numbers = np.abs(np.atleast_1d(np.asarray(numbers, np.float64)))
    weights = np.linspace(1.0, 2.0, numbers.size).reshape(numbers.shape)
    return float(f"{weights[np.isfinite(numbers)] @ numbers[np.isfinite(numbers)]:.6g}")


def _computed(precision, bounds):
    rng = np.random.default_rng(0)

    def rounded(numbers, share=0.0):
        e = share * np.abs(numbers)
        return Rounded(precision.round(numbers), np.square(e) / 3.0, e, precision, bounds=bounds)

    yield from _arithmetic(rng, precision, bounds, rounded)
    yield from _activations(rounded)
    yield from _layers(rng, precision, bounds, rounded)
    if bounds is not Bounds.LEFT_OUT:
        yield from _networks(precision, FREE_RUNNING if bounds is Bounds.FREE else Analysis())


def _arithmetic(rng, precision, bounds, rounded):
    a, b = rng.normal(size=(2, 6, 7)) * 10.0 ** rng.uniform(-3, 1, (2, 6, 7))
    kernel = precision.round(rng.normal(size=(7, 5)))
    for how, share in OFF.items():
        x, y = rounded(a, share), rounded(b, share / 2)
        results = {
            "x + y": x + y,
            "x - 1": x - 1.0,
            "1 - x": 1.0 - x,
            "x + y + x": x + y + x,
            "-x": -(x + y),
            "x * y": x * y,
            "x * x": x * x,
            "x * 0.1": x * 0.1,
            "x * 0.5": x * 0.5,
            "x / y": x / y,
            "x / 3": x / 3.0,
            "x / 4": x / 4.0,
            "x / [3, 4, ...]": x / np.arange(3.0, 10.0),
            "1 / x": 1.0 / x,
            "x @ W": x @ Matrix(kernel, precision, bounds),
            "x @ W + y @ W": x @ Matrix(kernel, precision, bounds) + y @ Matrix(kernel, precision, bounds),
            "x @ W in order": x @ OrderedMatrix(kernel, precision, bounds),
            "x @ y": x[np.newaxis] @ rounded(b.T[np.newaxis], share),
            "x @ W near the largest": x @ Matrix(kernel, precision, bounds) * (precision.largest / 2.0**6),
            "x to float16": x.to(PRECISIONS["float16"]),
            "x to float32": x.to(PRECISIONS["float32"]),
            "a recurrence": recurrence(x[:5], y[:5], y[0]),
        }
        for name, result in results.items():
            yield f"{name}, {how}", result


def _activations(rounded):
    numbers = np.array(
        [sign * size for size in (0.0, 1e-6, 1e-3, 0.1, 0.5, 1, 2.5, 3, 6, 20, 90) for sign in (1, -1)]
    )
    for name in (*ACTIVATIONS, *KERAS2_ACTIVATIONS):
        for how, share in OFF.items():
            activation = Activation(name, PARAMETERS.get(name, {}))
            yield f"{name}, {how}", activate(activation, rounded(numbers, share))


def _layers(rng, precision, bounds, rounded):
    for name, case in CASES.items():
        if LAYERS[case.kind].exact:  # whose numbers are only moved
            continue
        options = options_of(case)
        arrays, weights = draw(case, rng), drawn_weights(case, rng)
        matrices = {each: precision.round(as_matrix(each, weight)) for each, weight in weights.items()}
        matrices |= {each: Matrix(w, precision, bounds) for each, w in matrices.items() if each in KERNELS}
        for how, share in OFF.items():
            given = [rounded(x, share) if x.dtype.kind == "f" else x for x in arrays]
            yield f"{name}, {how}", LAYERS[case.kind].apply(given, matrices, options)


def _networks(precision, arithmetic):
    for cell, options in CELLS.items():
        for more in ({}, {"mask": True}, {"go_backwards": True, "use_bias": False}, {"initial_state": True}):
            network = make_network(T=4, D=2, M=3, K=2, dtype=precision.name, return_state=True, **options, **more)
            replayed = replay(network, make_inputs(network, N=2), arithmetic=arithmetic, every_step=True)
            label = ", ".join([cell, *more])
            for number, output in enumerate(replayed.outputs):
                yield f"{label}, output {number}", output
            yield f"{label}, states", replayed.sequences["rnn"]
            yield f"{label}, growth", replayed.growths


def main():
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in figures()]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
