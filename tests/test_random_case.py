"""Random cases are valid, small enough, the same for the same seed, and reach every option."""

from dataclasses import fields

import numpy as np
import pytest

from experiments.random_case import random_case
from rnncheck.cases.case import (
    GATES,
    LAYERS,
    MASK_SOURCES,
    MASKS,
    MERGE_MODES,
    PADDINGS,
    POLICIES,
    WEIGHTS,
    WRAPPERS,
    Case,
)
from rnncheck.cases.deviations import deviates
from rnncheck.frameworks.keras.build import build

CASES = [random_case(seed) for seed in range(2000)]
FLAGS = [field.name for field in fields(Case) if isinstance(field.default, bool)]


def test_same_seed_draws_the_same_case():
    assert [random_case(seed) for seed in range(50)] == CASES[:50]


def test_every_seed_draws_another_case_and_is_its_own_seed():
    assert len({str(case) for case in CASES}) > 1990
    assert [case.seed for case in CASES] == list(range(2000))


def test_no_case_is_known_to_deviate():
    assert not any(deviates(case) for case in CASES)


def test_states_are_at_most_as_many_numbers_as_asked():
    for seed in range(200):
        case = random_case(seed, 2_000)
        assert case.N == 1 or case.N * case.T * case.M <= 2_000


def test_no_case_takes_much_memory():
    assert max(case.bytes_needed for case in CASES) < 2**28


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("layer", LAYERS),
        ("cell", GATES),
        ("wrapper", WRAPPERS),
        ("merge_mode", MERGE_MODES),
        ("dtype", POLICIES),
        ("mask", MASKS),
        ("mask_from", MASK_SOURCES),
        ("padding", PADDINGS),
        ("weights", WEIGHTS),
        ("layers", (1, 2, 3)),
        ("cells", (2, 3, 4)),
        ("kernel_size", (1, 2, 3)),
        ("strides", (1, 2)),
        ("dilation_rate", (1, 2)),
        *((flag, (False, True)) for flag in FLAGS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_choice_is_drawn(option, choices):
    assert {getattr(case, option) for case in CASES} == set(choices)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_drawn_in_every_wrapper(layer, wrapper):
    assert any((case.layer, case.wrapper) == (layer, wrapper) for case in CASES)


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 20))])
def test_case_builds_and_stays_finite(seed):
    case = random_case(seed, 5_000)
    built = build(case)

    predicted = built.model.predict(list(built.calls[0]), batch_size=case.N if case.stateful else None, verbose=0)

    for array in predicted if isinstance(predicted, list) else [predicted]:
        assert np.all(np.isfinite(np.asarray(array, np.float32)))
