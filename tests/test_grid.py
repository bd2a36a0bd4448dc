"""The built-in grid covers every option, and every case of it can be run again from its command line."""

import shlex
from dataclasses import fields

import pytest
from reference import make_network

from rnncheck import NOTEBOOK, Case, InputError
from rnncheck.cases.case import (
    FRONTS,
    GATES,
    LAYERS,
    MASK_SOURCES,
    MASKS,
    MERGE_MODES,
    OPTIONS,
    PADDINGS,
    POLICIES,
    RANKS,
    SIZES,
    WEIGHTS,
    WRAPPERS,
    reproduce_command,
)
from rnncheck.cases.deviations import KNOWN_DEVIATIONS, deviates, deviations_of
from rnncheck.cases.grid import default_grid, product_of
from rnncheck.cli import _cases, cli
from rnncheck.equations.activations import ACTIVATIONS

GRID = default_grid()
FLAGS = [field.name for field in fields(Case) if isinstance(field.default, bool)]


def values(option):
    return {getattr(case, option) for case in GRID}


def parsed(command):
    """Return the cases that the command line makes of a command, without running them."""
    program, name, *words = shlex.split(command)
    assert program == "rnncheck"
    parameters = cli.commands[name].make_context(name, words, **cli.context_settings).params
    names = [field.name for field in fields(Case) if field.name != "seed" and parameters[field.name] is not None]
    return _cases({name: parameters[name] for name in names}, parameters["seed"], ())


def test_grid_has_hundreds_of_cases_that_three_minutes_suffice_for():
    assert 200 <= len(GRID) <= 400


def test_grid_has_no_case_twice():
    assert len(set(GRID)) == len(GRID)


def test_grid_begins_with_the_notebook():
    assert GRID[0] == NOTEBOOK


def test_grid_has_every_activation_but_those_known_to_deviate():
    assert set(ACTIVATIONS) - values("activation") == {"glu", "sparsemax"}
    assert set(ACTIVATIONS) - values("dense_activation") == {"sparsemax"}


def test_grid_has_every_activation_of_gates_but_those_known_to_deviate():
    gated = {case.recurrent_activation for case in GRID if case.cell_kinds != ("simple_rnn",)}

    assert set(ACTIVATIONS) - gated == {"glu", "sparsemax"}


@pytest.mark.parametrize("layer", LAYERS)
def test_grid_has_every_layer_in_every_wrapper_and_direction(layer):
    found = {(case.wrapper, case.go_backwards) for case in GRID if case.layer == layer}

    assert {(wrapper, False) for wrapper in WRAPPERS} | {("none", True)} <= found


@pytest.mark.parametrize(
    ("cells", "wrapper"),
    [
        *(((cell,), "none") for cell in GATES),
        (("lstm",), "bidirectional"),
        (("simple_rnn", "gru"), "bidirectional"),
    ],
    ids=str,
)
def test_grid_has_every_mask_with_every_cell(cells, wrapper):
    found = {case.mask for case in GRID if case.layer in cells and case.wrapper == wrapper}

    assert found == set(MASKS)


@pytest.mark.parametrize("cell", GATES)
def test_grid_crosses_every_mask_with_directions_and_zeroed_outputs(cell):
    masked = [case for case in GRID if case.layer == cell and case.wrapper == "none" and case.mask != "none"]
    crossed = {(case.mask, case.go_backwards) for case in masked}

    ways = {(case.zero_output_for_mask, case.return_sequences, case.go_backwards) for case in masked}
    assert len(ways) >= (6 if cell == "lstm" else 4)
    assert len(crossed) == 12 or (cell != "lstm" and len(crossed) >= 6)


def test_grid_crosses_every_mask_with_directions_in_a_layer_of_one_state():
    crossed = {
        (case.mask, case.go_backwards)
        for case in GRID
        if case.layer in ("simple_rnn", "gru") and case.wrapper == "none" and case.mask != "none"
    }

    assert len(crossed) == 12


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer not in GATES])
def test_grid_masks_every_other_layer_in_both_directions(layer):
    masked = [case for case in GRID if case.layer == layer and case.mask != "none"]

    assert {case.go_backwards for case in masked} == {False, True}
    assert {case.return_sequences for case in masked} == {False, True}
    assert len({case.mask for case in masked}) >= 3


@pytest.mark.parametrize("merge_mode", MERGE_MODES)
def test_grid_has_every_merge_mode_with_and_without_mask_and_sequences(merge_mode):
    merged = [case for case in GRID if case.bidirectional and case.merge_mode == merge_mode]

    assert {case.mask == "none" for case in merged} == {False, True}
    assert {case.return_sequences for case in merged} == {False, True}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_grid_has_every_source_of_a_mask_in_every_wrapper(wrapper):
    assert {case.mask_from for case in GRID if case.wrapper == wrapper} == set(MASK_SOURCES)


@pytest.mark.parametrize("dtype", POLICIES)
def test_grid_has_every_dtype_with_every_cell(dtype):
    assert set(GATES) <= {case.layer for case in GRID if case.dtype == dtype}


@pytest.mark.parametrize("option", ["initial_state", "stateful", "return_state", "unroll", "use_bias"])
@pytest.mark.parametrize("layer", [*GATES, "stacked"])
def test_grid_has_options_with_every_layer_that_keeps_its_own_states(layer, option):
    assert {getattr(case, option) for case in GRID if case.layer == layer} == {False, True}


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("layer", LAYERS),
        ("cell", GATES),
        ("wrapper", WRAPPERS),
        ("front", FRONTS),
        ("merge_mode", MERGE_MODES),
        ("dtype", POLICIES),
        ("mask", MASKS),
        ("mask_from", MASK_SOURCES),
        ("padding", PADDINGS),
        ("weights", WEIGHTS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_grid_has_every_choice(option, choices):
    assert values(option) == set(choices)


@pytest.mark.parametrize("flag", FLAGS)
def test_grid_has_every_flag_on_and_off(flag):
    assert values(flag) == {False, True}


@pytest.mark.parametrize("option", [name for name, option in OPTIONS.items() if not option.choices])
def test_grid_has_every_number_changed(option):
    assert len(values(option)) > 1


@pytest.mark.parametrize("case", GRID, ids=str)
def test_sizes_of_a_case_are_pairwise_different(case):
    assert len({getattr(case, size) for size in SIZES}) == len(SIZES)


@pytest.mark.parametrize("case", [case for case in GRID if case.layer in RANKS or case.outer], ids=str)
def test_sizes_of_a_case_differ_from_outer_steps_and_from_space(case):
    inner = {case.N, case.T, case.D, case.M}

    assert not inner & {*case.outer, *case.space}


def test_every_case_has_steps_enough_to_show_the_recurrence():
    assert min(case.T for case in GRID) >= 4


def test_grid_leaves_out_what_is_known_to_deviate():
    assert not any(deviates(case) for case in GRID)


@pytest.mark.parametrize("deviation", KNOWN_DEVIATIONS, ids=lambda deviation: str(deviation.example))
def test_known_deviation_applies_to_its_own_example(deviation):
    assert deviation.applies(deviation.example)


CONVOLVED = {"layer": "conv_lstm_1d"}
ZEROED = {"mask": "left", "zero_output_for_mask": True, "return_sequences": True, "unroll": True}
TURNED_IN_A_LOOP = {"wrapper": "bidirectional", "mask": "left", "unroll": True}


@pytest.mark.parametrize(
    ("number", "options", "applies"),
    [
        (0, {"activation": "sparsemax"}, True),
        (0, {"layer": "lstm", "recurrent_activation": "sparsemax"}, True),
        (0, {"activation": "softmax"}, False),
        (1, {"activation": "leaky_relu", "dtype": "float64"}, True),
        (1, {"activation": "leaky_relu"}, False),
        (1, {"dtype": "float64"}, False),
        (2, {"activation": "gelu", "dtype": "float64"}, True),
        (2, {"activation": "gelu"}, False),
        (2, {"dtype": "float64"}, False),
        (3, {"front": "depthwise_conv2d", "D": 11}, False),
        (3, {"front": "conv2d", "D": 12}, False),
        (4, {**ZEROED, "go_backwards": True}, True),
        (4, ZEROED, False),
        (4, {**ZEROED, "go_backwards": True, "unroll": False}, False),
        (4, {**ZEROED, "go_backwards": True, "mask": "none"}, False),
        (4, {**ZEROED, "go_backwards": True, "zero_output_for_mask": False}, False),
        (4, {**TURNED_IN_A_LOOP, "return_sequences": True}, True),
        (4, {**TURNED_IN_A_LOOP, "layers": 2}, True),
        (4, TURNED_IN_A_LOOP, False),
        (4, {**TURNED_IN_A_LOOP, "return_sequences": True, "unroll": False}, False),
        (4, {**TURNED_IN_A_LOOP, "return_sequences": True, "mask": "none"}, False),
        (5, {"mask": "left", "initial_state": True}, True),
        (5, {"mask": "left"}, False),
        (5, {"initial_state": True}, False),
        (5, {"mask": "left", "initial_state": True, "unroll": True}, False),
        (5, {**ZEROED, "initial_state": True, "unroll": False}, False),
        (6, ZEROED, True),
        (6, {**ZEROED, "unroll": False}, False),
        (6, {**ZEROED, "mask": "none"}, False),
        (7, {"dtype": "float32"}, False),
        (7, {**CONVOLVED, "dtype": "float64"}, False),
        (8, {}, False),
        (9, {**CONVOLVED, "mask": "left"}, True),
        (9, CONVOLVED, False),
        (9, {"mask": "left"}, False),
        (9, {**CONVOLVED, "mask": "left", "unroll": True}, False),
    ],
    ids=str,
)
def test_known_deviation_applies_where_all_that_it_takes_is_there(number, options, applies):
    assert bool(KNOWN_DEVIATIONS[number].applies(Case(**options))) is applies


@pytest.mark.parametrize(("dtype", "concerns"), [("float64", True), ("float32", False)])
def test_products_in_float64_are_known_to_deviate_in_models_that_have_them(dtype, concerns):
    network = make_network(T=3, D=2, M=4, K=1, dtype=dtype)

    assert any("float64" in reason for reason in deviations_of(network, "jax")) == concerns


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


def test_product_refuses_an_option_that_no_case_has():
    with pytest.raises(InputError) as refused:
        product_of({"N": [1], "units": [3]}, seed=0)

    names = ", ".join(field.name for field in fields(Case))
    assert str(refused.value) == f"case: got 'units'; expected one of {names}."


def test_product_refuses_a_combination_that_cannot_be_built():
    with pytest.raises(InputError) as refused:
        product_of({"K": [2, 3], "dense_activation": ["glu"]}, seed=0)

    assert str(refused.value) == (
        "case: got dense_activation='glu' with K=3; expected an even K, since glu halves it."
    )


@pytest.mark.few(100)
@pytest.mark.parametrize("case", GRID, ids=str)
def test_reproduce_command_gives_the_same_case_again(case):
    assert parsed(reproduce_command(case)) == [case]


def test_reproduce_command_names_sizes_seed_and_what_differs():
    case = Case(N=2, seed=7, use_bias=False, zero_output_for_mask=True, mask="left", recurrent_scale=3.0)

    assert reproduce_command(case) == (
        "rnncheck verify --layer simple_rnn -N 2 -T 10 -D 3 -M 5 -K 2 --seed 7 --no-use-bias --mask left "
        "--zero-output-for-mask --recurrent-scale 3.0"
    )


@pytest.mark.parametrize(
    "case",
    [
        Case(layer="stacked", cell="gru", cells=3, layers=2, reset_after=False),
        Case(layer="lstm", wrapper="bidirectional", merge_mode="none", own_backward=True, unit_forget_bias=False),
        Case(layer="conv_lstm_2d", kernel_size=3, strides=2, padding="same", recurrent_activation="hard_sigmoid"),
        Case(layer="conv_lstm_1d", dilation_rate=2, wrapper="time_distributed"),
        Case(layer="rnn", cell="lstm", mask="both", mask_from="embedding"),
    ],
    ids=str,
)
def test_reproduce_command_of_every_kind_of_option_gives_the_same_case_again(case):
    assert parsed(reproduce_command(case)) == [case]


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
