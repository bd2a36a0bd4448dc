"""A Case refuses what cannot be built, in words, and describes itself."""

import os
from dataclasses import FrozenInstanceError, fields

import pytest

from rnncheck import NOTEBOOK, Case, InputError
from rnncheck.activations import ACTIVATIONS
from rnncheck.case import ALIASES, LAYERS, MASKS, POLICIES, SIZES, readable_bytes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0, -3, 2.0, True, "4", None], ids=repr)
def test_size_that_is_no_positive_whole_number_is_refused(size, value):
    with pytest.raises(InputError) as refused:
        Case(**{size: value})

    assert str(refused.value) == f"case: {size}={value!r} came; expected a whole number from 1 up."


@pytest.mark.parametrize("value", [-1, 1.5, True, "7", None], ids=repr)
def test_seed_that_is_no_whole_number_is_refused(value):
    with pytest.raises(InputError) as refused:
        Case(seed=value)

    assert str(refused.value).startswith(f"case: seed={value!r} came; expected a whole number from 0 ")


def test_seed_larger_than_keras_takes_is_refused():
    with pytest.raises(InputError) as refused:
        Case(seed=2**32)

    assert str(refused.value).startswith("case: seed=4294967296 came; expected a whole number from 0 ")


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("layer", "transformer", ", ".join(sorted(LAYERS))),
        ("dtype", "int8", "bfloat16, float16, float32, float64, mixed_bfloat16, mixed_float16"),
        ("dtype", "", "bfloat16, float16, float32, float64, mixed_bfloat16, mixed_float16"),
        ("mask", "sometimes", "all, both, holes, left, mixed, none, right"),
        ("weights", "zeros", "keras, random"),
        ("activation", "tnah", ", ".join(sorted({*ACTIVATIONS, *ALIASES}))),
        ("dense_activation", None, ", ".join(sorted({*ACTIVATIONS, *ALIASES}))),
    ],
)
def test_unknown_choice_is_refused_with_the_known_ones(option, value, choices):
    with pytest.raises(InputError) as refused:
        Case(**{option: value})

    assert str(refused.value) == f"case: {option}={value!r} came; expected one of {choices}."


def test_glu_of_the_recurrent_layer_is_refused():
    with pytest.raises(InputError) as refused:
        Case(activation="glu")

    assert str(refused.value) == (
        "case: activation='glu' came; expected one that keeps the number of units, since the state is fed back. "
        "Use dense_activation='glu' instead."
    )


def test_glu_of_an_odd_number_of_outputs_is_refused():
    with pytest.raises(InputError) as refused:
        Case(dense_activation="glu", K=3)

    assert str(refused.value) == (
        "case: dense_activation='glu' came with K=3; expected an even K, since glu halves it."
    )


def test_flatten_of_a_single_step_is_refused():
    with pytest.raises(InputError) as refused:
        Case(flatten=True)

    assert str(refused.value) == (
        "case: flatten=True came with return_sequences=False; expected return_sequences=True, since there is "
        "nothing to flatten in one step."
    )


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf")], ids=repr)
def test_dropout_that_is_no_rate_is_refused(option, value):
    with pytest.raises(InputError) as refused:
        Case(**{option: value})

    assert str(refused.value).startswith(f"case: {option}={value!r} came; expected ")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")], ids=repr)
def test_recurrent_scale_that_is_no_size_is_refused(value):
    with pytest.raises(InputError) as refused:
        Case(recurrent_scale=value)

    assert str(refused.value).startswith(f"case: recurrent_scale={value!r} came; expected ")


def test_case_larger_than_half_the_memory_is_refused_with_what_it_would_need():
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

    with pytest.raises(InputError) as refused:
        Case(N=10**12)

    assert str(refused.value) == (
        "case: N=1000000000000, T=10, D=3, M=5, K=2 came; it would need about 2.83 PiB, expected at most "
        f"{readable_bytes(half)}, half of this machine's memory. Use smaller sizes."
    )


def test_memory_counts_weights_arrays_and_outputs():
    weights = 5 * (3 + 5 + 1) + 2 * (5 + 1)
    arrays = 1 * 10 * (3 + 2 * 5)
    outputs = 1 * 2

    assert NOTEBOOK.bytes_needed == 8 * (8 * weights + 3 * arrays + 4 * outputs)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        pytest.param(Case(), Case(return_sequences=True), id="sequences"),
        pytest.param(Case(return_sequences=True), Case(return_sequences=True, flatten=True), id="flatten"),
        *(pytest.param(Case(), Case(**{size: 100}), id=size) for size in SIZES),
    ],
)
def test_memory_grows_with_what_is_kept(smaller, larger):
    assert larger.bytes_needed > smaller.bytes_needed


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1000 * 2**20, "1000 MiB"),
        (2**30, "1 GiB"),
        (2**50, "1 PiB"),
        (2**60, "1 EiB"),
    ],
)
def test_bytes_are_said_in_binary_units(count, text):
    assert readable_bytes(count) == text


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case(), "simple_rnn N4 T10 D3 M5 K2"),
        (NOTEBOOK, "simple_rnn N1 T10 D3 M5 K2 weights=keras"),
        (Case(seed=9), "simple_rnn N4 T10 D3 M5 K2"),
        (Case(use_bias=False), "simple_rnn N4 T10 D3 M5 K2 use_bias=False"),
        (
            Case(weights="keras", stateful=True, dtype="float64", dropout=0.5),
            "simple_rnn N4 T10 D3 M5 K2 dtype=float64 stateful dropout=0.5 weights=keras",
        ),
    ],
    ids=["default", "notebook", "seed", "false", "several"],
)
def test_text_names_the_sizes_and_what_differs_from_the_default(case, text):
    assert str(case) == text


def test_changed_options_stand_in_the_order_of_the_fields():
    case = Case(N=9, seed=3, recurrent_scale=2.0, mask="left", use_bias=False)

    assert list(case.changed_options().items()) == [("use_bias", False), ("mask", "left"), ("recurrent_scale", 2.0)]


def test_changed_options_of_the_default_are_none():
    assert Case().changed_options() == {}


def test_dictionary_has_every_field_and_makes_the_same_case_again():
    case = Case(N=2, seed=3, mask="mixed", return_sequences=True, flatten=True)

    found = case.to_dict()

    assert list(found) == [field.name for field in fields(Case)]
    assert Case(**found) == case


def test_head_reads_every_step_behind_flatten():
    assert Case(T=7, M=6).head_inputs == 6
    assert Case(T=7, M=6, return_sequences=True).head_inputs == 6
    assert Case(T=7, M=6, return_sequences=True, flatten=True).head_inputs == 42


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("dtype", dtype) for dtype in POLICIES),
        *(("mask", mask) for mask in MASKS),
        *(("layer", layer) for layer in LAYERS),
        *(("activation", alias) for alias in ALIASES),
    ],
)
def test_known_choice_is_taken(option, value):
    assert getattr(Case(**{option: value}), option) == value


def test_case_cannot_be_changed():
    case = Case()

    with pytest.raises(FrozenInstanceError):
        case.N = 2


def test_notebook_case_is_the_notebook_s():
    expected = Case(N=1, T=10, D=3, M=5, K=2, activation="tanh", dtype="float32", weights="keras")

    assert expected == NOTEBOOK
