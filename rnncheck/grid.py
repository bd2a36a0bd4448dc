"""The built-in grid: the cases that `rnncheck verify` runs, and how options on the command line make others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from rnncheck.activations import ACTIVATIONS
from rnncheck.case import MASKS, NOTEBOOK, POLICIES, Case


@dataclass(frozen=True)
class Deviation:
    """Something that Keras 3.15 on TensorFlow computes otherwise than its equation says.

    The grid leaves these cases out; `rnncheck verify` with such options says `mismatch`, and a test notices when
    Keras mends it.

    Attributes:
        reason: what Keras does.
        applies: whether a case is affected.
        example: a case that shows it.
    """

    reason: str
    applies: Callable[[Case], bool]
    example: Case


def _uses(case: Case, activation: str) -> bool:
    return activation in (case.activation, case.dense_activation)


KNOWN_DEVIATIONS = (
    Deviation(
        "sparsemax sums the cumulative sums over its support instead of taking the last one (keras issue 23425)",
        lambda case: _uses(case, "sparsemax"),
        Case(dense_activation="sparsemax", K=4),
    ),
    Deviation(
        "leaky_relu in float64 has its slope 0.2 from a float32 number",
        lambda case: _uses(case, "leaky_relu") and case.dtype == "float64",
        Case(dense_activation="leaky_relu", dtype="float64", N=8),
    ),
    Deviation(
        "gelu in float64 has the square root of 2 from a float32 number",
        lambda case: _uses(case, "gelu") and case.dtype == "float64",
        Case(dense_activation="gelu", dtype="float64", N=8),
    ),
    Deviation(
        "unroll with go_backwards zeroes masked outputs by the mask in its original order",
        lambda case: case.unroll and case.go_backwards and case.mask != "none" and case.zero_output_for_mask,
        Case(unroll=True, go_backwards=True, mask="left", zero_output_for_mask=True, return_sequences=True),
    ),
)


def deviates(case: Case) -> bool:
    """Whether Keras is known to compute this case otherwise than the equations say."""
    return any(deviation.applies(case) for deviation in KNOWN_DEVIATIONS)


def default_grid(seed: int = 0) -> list[Case]:
    """Return the built-in cases: the notebook's first, then every option of every kind, sizes pairwise different."""
    cases = [NOTEBOOK]
    numbered = enumerate(_options(), start=seed)
    cases += [Case(**{"seed": number, **options}) for number, options in numbered]
    return [case for case in cases if not deviates(case)]


def _options() -> Iterator[dict[str, Any]]:
    yield from _sizes()
    sizes = {"N": 3, "T": 7, "D": 4, "M": 6, "K": 2}
    for activation in sorted(ACTIVATIONS):
        if activation != "glu":
            yield {**sizes, "activation": activation}
        yield {**sizes, "dense_activation": activation, "return_sequences": True}
    for dtype in POLICIES:
        yield {**sizes, "dtype": dtype}
        yield {**sizes, "dtype": dtype, "M": 32, "activation": "relu", "initial_state": True}
    for mask, go_backwards in product((mask for mask in MASKS if mask != "none"), (False, True)):
        common = {**sizes, "mask": mask, "go_backwards": go_backwards, "initial_state": True, "return_state": True}
        yield {**common, "return_sequences": go_backwards}
        yield {**common, "return_sequences": not go_backwards, "zero_output_for_mask": True}
    yield from ({**sizes, **options} for options in _single_options())


def _sizes() -> Iterator[dict[str, Any]]:
    for n, t_steps, d, m, k in (
        (2, 4, 1, 3, 5),
        (2, 50, 3, 5, 4),
        (4, 10, 3, 32, 2),
        (4, 50, 3, 32, 2),
        (32, 100, 16, 64, 3),
        (8, 20, 64, 128, 10),
        (5, 30, 2, 256, 1),
        (64, 12, 7, 33, 4),
    ):
        yield {"N": n, "T": t_steps, "D": d, "M": m, "K": k}
    yield {"N": 8, "T": 300, "D": 5, "M": 64, "K": 2, "recurrent_scale": 3.0}  # chaotic


def _single_options() -> Iterator[dict[str, Any]]:
    yield {"use_bias": False}
    yield {"return_state": True}
    yield {"return_sequences": True, "return_state": True}
    yield {"return_sequences": True, "flatten": True}
    yield {"go_backwards": True}
    yield {"go_backwards": True, "return_sequences": True}
    yield {"initial_state": True}
    yield {"stateful": True}
    yield {"stateful": True, "return_sequences": True, "return_state": True}
    yield {"stateful": True, "mask": "mixed"}
    yield {"stateful": True, "go_backwards": True, "unroll": True}
    yield {"unroll": True}
    yield {"unroll": True, "mask": "mixed", "return_sequences": True}
    yield {"unroll": True, "mask": "mixed", "zero_output_for_mask": True}
    yield {"dropout": 0.5, "recurrent_dropout": 0.5}
    yield {"dropout": 0.5, "recurrent_dropout": 0.5, "unroll": True}
    yield {"weights": "keras", "return_sequences": True}
    yield {"activation": "relu", "return_sequences": True, "flatten": True, "dense_activation": "softmax"}


def product_of(options: Mapping[str, Sequence[Any]], seed: int) -> list[Case]:
    """Return a case for every combination of the values given; what is not given keeps its default."""
    return [Case(**dict(zip(options, values, strict=True)), seed=seed) for values in product(*options.values())]
