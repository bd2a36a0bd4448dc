"""The built-in grid covers every option, and every case of it can be run again from its command line."""

import shlex
from dataclasses import fields

import pytest

from rnncheck import NOTEBOOK, Case, InputError
from rnncheck.activations import ACTIVATIONS
from rnncheck.case import LAYERS, MASKS, POLICIES, SIZES, WEIGHTS
from rnncheck.cli import _cases, cli
from rnncheck.grid import KNOWN_DEVIATIONS, default_grid, deviates, product_of
from rnncheck.verify import reproduce_command

GRID = default_grid()
FLAGS = [field.name for field in fields(Case) if isinstance(field.default, bool)]


def values(option):
    return {getattr(case, option) for case in GRID}


def parsed(command):
    """Return the cases that the command line makes of a command, without running them."""
    program, name, *words = shlex.split(command)
    assert program == "rnncheck"
    parameters = cli.commands[name].make_context(name, words).params
    options = {field.name: parameters[field.name] for field in fields(Case) if field.name != "seed"}
    return _cases(options, parameters["seed"])


def test_grid_has_at_least_a_hundred_cases():
    assert len(GRID) >= 100


def test_grid_has_no_case_twice():
    assert len(set(GRID)) == len(GRID)


def test_grid_begins_with_the_notebook():
    assert GRID[0] == NOTEBOOK


def test_grid_has_every_activation_but_those_known_to_deviate():
    assert set(ACTIVATIONS) - values("activation") == {"glu", "sparsemax"}
    assert set(ACTIVATIONS) - values("dense_activation") == {"sparsemax"}


@pytest.mark.parametrize(
    ("option", "choices"),
    [("layer", LAYERS), ("dtype", POLICIES), ("mask", MASKS), ("weights", WEIGHTS)],
    ids=["layer", "dtype", "mask", "weights"],
)
def test_grid_has_every_choice(option, choices):
    assert values(option) == set(choices)


@pytest.mark.parametrize("flag", FLAGS)
def test_grid_has_every_flag_on_and_off(flag):
    assert values(flag) == {False, True}


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout", "recurrent_scale"])
def test_grid_has_every_number_changed(option):
    assert len(values(option)) > 1


@pytest.mark.parametrize("case", GRID, ids=str)
def test_sizes_of_a_case_are_pairwise_different(case):
    assert len({getattr(case, size) for size in SIZES}) == len(SIZES)


def test_every_case_has_steps_enough_to_show_the_recurrence():
    assert min(case.T for case in GRID) >= 4


def test_grid_leaves_out_what_is_known_to_deviate():
    assert not any(deviates(case) for case in GRID)


@pytest.mark.parametrize("deviation", KNOWN_DEVIATIONS, ids=lambda deviation: str(deviation.example))
def test_known_deviation_applies_to_its_own_example(deviation):
    assert deviation.applies(deviation.example)


def test_grid_of_another_seed_differs_in_the_seeds_alone():
    other = default_grid(7)

    assert [str(case) for case in other] == [str(case) for case in GRID]
    assert other[0] == NOTEBOOK
    assert all(one.seed != another.seed for one, another in zip(GRID[1:], other[1:], strict=True))


def test_product_has_every_combination_in_order():
    cases = product_of({"N": [1, 4], "mask": ["none", "left"]}, seed=7)

    assert cases == [
        Case(N=1, mask="none", seed=7),
        Case(N=1, mask="left", seed=7),
        Case(N=4, mask="none", seed=7),
        Case(N=4, mask="left", seed=7),
    ]


def test_product_of_nothing_is_the_default_case():
    assert product_of({}, seed=3) == [Case(seed=3)]


def test_product_refuses_a_combination_that_cannot_be_built():
    with pytest.raises(InputError) as refused:
        product_of({"K": [2, 3], "dense_activation": ["glu"]}, seed=0)

    assert str(refused.value) == (
        "case: dense_activation='glu' came with K=3; expected an even K, since glu halves it."
    )


@pytest.mark.parametrize("case", GRID, ids=str)
def test_reproduce_command_gives_the_same_case_again(case):
    assert parsed(reproduce_command(case)) == [case]


def test_reproduce_command_names_sizes_seed_and_what_differs():
    case = Case(N=2, seed=7, use_bias=False, zero_output_for_mask=True, mask="left", recurrent_scale=3.0)

    assert reproduce_command(case) == (
        "rnncheck verify --layer simple_rnn -N 2 -T 10 -D 3 -M 5 -K 2 --seed 7 --no-use-bias --mask left "
        "--zero-output-for-mask --recurrent-scale 3.0"
    )


def test_command_line_without_options_runs_the_grid():
    assert parsed("rnncheck verify") == GRID


def test_command_line_with_lists_runs_their_product():
    assert parsed("rnncheck verify -N 1,4 --activation 'tanh, relu' --seed 7") == [
        Case(N=1, activation="tanh", seed=7),
        Case(N=1, activation="relu", seed=7),
        Case(N=4, activation="tanh", seed=7),
        Case(N=4, activation="relu", seed=7),
    ]


def test_every_field_of_a_case_is_an_option_of_the_command_line():
    parameters = {parameter.name for parameter in cli.commands["verify"].params}

    assert {field.name for field in fields(Case)} <= parameters
