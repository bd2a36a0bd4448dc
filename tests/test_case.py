"""A Case refuses what cannot be built, in words, and describes itself."""

import os
from dataclasses import FrozenInstanceError, fields

import pytest

from rnncheck import NOTEBOOK, Case, InputError
from rnncheck.cases.case import (
    ALIASES,
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
    WRAPPERS,
)
from rnncheck.cases.memory import readable_bytes
from rnncheck.equations.activations import ACTIVATIONS

BIDIRECTIONAL = {"wrapper": "bidirectional"}
TIME_DISTRIBUTED = {"wrapper": "time_distributed"}


@pytest.mark.parametrize("size", [name for name in OPTIONS if type(getattr(Case(), name)) is int and name != "seed"])
@pytest.mark.parametrize("value", [0, -3, 2.0, True, "4", None], ids=repr)
def test_size_that_is_no_positive_whole_number_is_refused(size, value):
    with pytest.raises(InputError) as refused:
        Case(**{size: value})

    assert str(refused.value) == f"case: got {size}={value!r}; expected a whole number from 1 up."


@pytest.mark.parametrize("value", [-1, 1.5, True, "7", None], ids=repr)
def test_seed_that_is_no_whole_number_is_refused(value):
    with pytest.raises(InputError) as refused:
        Case(seed=value)

    assert str(refused.value).startswith(f"case: got seed={value!r}; expected a whole number from 0 ")


def test_seed_larger_than_keras_takes_is_refused():
    with pytest.raises(InputError) as refused:
        Case(seed=2**32)

    assert str(refused.value).startswith("case: got seed=4294967296; expected a whole number from 0 ")


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("layer", "transformer", ", ".join(sorted(LAYERS))),
        ("dtype", "int8", "bfloat16, float16, float32, float64, mixed_bfloat16, mixed_float16"),
        ("dtype", "", "bfloat16, float16, float32, float64, mixed_bfloat16, mixed_float16"),
        ("mask", "sometimes", "all, both, holes, left, mixed, none, right"),
        ("weights", "zeros", "keras, random"),
        ("cell", "rnn", "gru, lstm, simple_rnn"),
        ("wrapper", "backwards", "bidirectional, none, time_distributed"),
        ("merge_mode", "max", "ave, concat, mul, none, sum"),
        ("mask_from", "nowhere", "embedding, input, masking"),
        ("padding", "causal", "same, valid"),
        ("recurrent_activation", "sigmoidal", ", ".join(sorted({*ACTIVATIONS, *ALIASES}))),
        ("activation", "tnah", ", ".join(sorted({*ACTIVATIONS, *ALIASES}))),
        ("dense_activation", None, ", ".join(sorted({*ACTIVATIONS, *ALIASES}))),
    ],
)
def test_unknown_choice_is_refused_with_the_known_ones(option, value, choices):
    with pytest.raises(InputError) as refused:
        Case(**{option: value})

    assert str(refused.value) == f"case: got {option}={value!r}; expected one of {choices}."


def test_glu_of_the_recurrent_layer_is_refused():
    with pytest.raises(InputError) as refused:
        Case(activation="glu")

    assert str(refused.value) == (
        "case: got activation='glu'; expected one that keeps the number of units, since the state is fed back. "
        "Use dense_activation='glu' instead."
    )


def test_glu_of_an_odd_number_of_outputs_is_refused():
    with pytest.raises(InputError) as refused:
        Case(dense_activation="glu", K=3)

    assert str(refused.value) == (
        "case: got dense_activation='glu' with K=3; expected an even K, since glu halves it."
    )


def test_flatten_of_a_single_step_is_refused():
    with pytest.raises(InputError) as refused:
        Case(flatten=True)

    assert str(refused.value) == (
        "case: got flatten=True with return_sequences=False; expected return_sequences=True, since there is "
        "nothing to flatten in one step."
    )


@pytest.mark.parametrize(
    ("options", "got", "expected"),
    [
        (
            {"layer": "lstm", "recurrent_activation": "glu"},
            "recurrent_activation='glu'",
            "one that keeps the number of units, since each has its gates. Use dense_activation='glu' instead.",
        ),
        (
            {"layer": "conv_lstm_1d", "strides": 2, "dilation_rate": 2},
            "strides=2 with dilation_rate=2",
            "1 for one of them, since Keras refuses both.",
        ),
        (
            {"layer": "conv_lstm_2d", "kernel_size": 4, "layers": 2},
            "kernel_size=4 with dilation_rate=1, layers=2",
            "kernels that fit into the space, which is (6, 5). Use padding='same'.",
        ),
        (
            {"layer": "conv_lstm_1d", "mask": "left", "mask_from": "masking"},
            "mask_from='masking' with layer='conv_lstm_1d'",
            "mask_from='input', since a mask of steps and places is none of steps.",
        ),
        (
            {"front": "conv2d", "mask": "left", "mask_from": "embedding"},
            "mask_from='embedding' with front='conv2d'",
            "mask_from='input', since convolutions and pooling drop masks.",
        ),
        (
            {"front": "conv3d", "dtype": "mixed_float16"},
            "dtype='mixed_float16' with front='conv3d'",
            "float32 or bfloat16, since TensorFlow pools volumes in these alone.",
        ),
        (
            {**BIDIRECTIONAL, "go_backwards": True},
            "go_backwards=True with wrapper='bidirectional'",
            "go_backwards=False, or own_backward=True, since both of Keras' own layers would go backwards.",
        ),
        (
            {**BIDIRECTIONAL, "zero_output_for_mask": True},
            "zero_output_for_mask=True with wrapper='bidirectional'",
            "False, since Bidirectional sets it itself: to the value of return_sequences.",
        ),
        (
            {**BIDIRECTIONAL, "merge_mode": "none", "layers": 2},
            "merge_mode='none' with layers=2",
            "layers=1, since the next layer reads one sequence, not two.",
        ),
        (
            {**BIDIRECTIONAL, "stateful": True, "return_state": True},
            "return_state=True with wrapper='bidirectional', stateful=True",
            "one of them, since Keras' Bidirectional fails when it makes up the mask of the states.",
        ),
        (
            {**BIDIRECTIONAL, "activation": "threshold"},
            "the activation 'threshold' with wrapper='bidirectional'",
            "another, since Keras copies the layer and cannot copy an activation with parameters.",
        ),
        (
            {"layer": "stacked", "cells": 1},
            "cells=1 with layer='stacked'",
            "2 or more, since Keras fails on a stack of one with a mask or unroll. Use layer='rnn'.",
        ),
        (
            {**TIME_DISTRIBUTED, "return_state": True},
            "return_state=True with wrapper='time_distributed'",
            "False, since TimeDistributed puts together one output, no states.",
        ),
        (
            {**TIME_DISTRIBUTED, "initial_state": True},
            "initial_state=True with wrapper='time_distributed'",
            "False, since TimeDistributed passes no states on.",
        ),
        (
            {**TIME_DISTRIBUTED, "stateful": True},
            "stateful=True with wrapper='time_distributed'",
            "False, since every outer step would go on from the one before.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_options_that_exclude_each_other_are_refused(options, got, expected):
    with pytest.raises(InputError) as refused:
        Case(**options)

    assert str(refused.value) == f"case: got {got}; expected {expected}"


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"cell": "lstm"}, "layer=rnn or stacked"),
        ({"layer": "rnn", "cells": 3}, "layer=stacked"),
        ({"merge_mode": "sum"}, "wrapper=bidirectional"),
        ({**TIME_DISTRIBUTED, "own_backward": True}, "wrapper=bidirectional"),
        ({"recurrent_activation": "tanh"}, "a layer with gates"),
        ({"layer": "rnn", "recurrent_activation": "tanh"}, "a layer with gates"),
        ({"layer": "gru", "unit_forget_bias": False}, "an LSTM"),
        ({"layer": "lstm", "reset_after": False}, "a GRU"),
        ({"layer": "lstm", "kernel_size": 3}, "layer=conv_lstm_1d, 2d or 3d"),
        ({"layer": "lstm", "strides": 2}, "layer=conv_lstm_1d, 2d or 3d"),
        ({"layer": "lstm", "padding": "same"}, "layer=conv_lstm_1d, 2d or 3d"),
        ({"layer": "lstm", "dilation_rate": 2}, "layer=conv_lstm_1d, 2d or 3d"),
        ({"mask_from": "masking"}, "a mask other than none"),
        ({"layer": "conv_lstm_1d", "front": "conv1d"}, "a layer without axes of space, outside TimeDistributed"),
        ({**TIME_DISTRIBUTED, "front": "conv1d"}, "a layer without axes of space, outside TimeDistributed"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_option_that_nothing_in_the_case_has_is_refused(options, where):
    *_, (option, value) = options.items()

    with pytest.raises(InputError) as refused:
        Case(**options)

    assert str(refused.value) == f"case: got {option}={value!r}; expected it only with {where}, which has it."


def test_limits_of_a_rate_are_rates():
    assert (Case(dropout=1.0).dropout, Case(recurrent_dropout=0.0).recurrent_dropout) == (1.0, 0.0)


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf"), "half", None], ids=repr)
def test_dropout_that_is_no_rate_is_refused(option, value):
    with pytest.raises(InputError) as refused:
        Case(**{option: value})

    assert str(refused.value).startswith(f"case: got {option}={value!r}; expected ")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "large"], ids=repr)
def test_recurrent_scale_that_is_no_size_is_refused(value):
    with pytest.raises(InputError) as refused:
        Case(recurrent_scale=value)

    assert str(refused.value).startswith(f"case: got recurrent_scale={value!r}; expected ")


def test_case_larger_than_half_the_memory_is_refused_with_what_it_would_need():
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

    with pytest.raises(InputError) as refused:
        Case(N=10**12)

    assert str(refused.value) == (
        "case: got N=1000000000000, T=10, D=3, M=5, K=2, which needs about 2.83 PiB; expected at most "
        f"{readable_bytes(half)}, half of this machine's memory. Use smaller sizes."
    )


def test_memory_counts_weights_arrays_and_outputs():
    weights = 5 * (3 + 5 + 1) + 2 * (5 + 1)
    arrays = 1 * 10 * (3 + 2 * 5)
    outputs = 1 * 2

    assert NOTEBOOK.bytes_needed == 8 * (8 * weights + 3 * arrays + 4 * outputs)


def test_memory_counts_the_output_behind_flatten_once_and_others_at_every_step():
    sizes = {"N": 2, "T": 5, "D": 3, "M": 4, "K": 7, "return_sequences": True}

    rnn, arrays = 4 * (3 + 4 + 1), 2 * 5 * (3 + 2 * 4)
    assert Case(**sizes).bytes_needed == 8 * (8 * (rnn + 7 * (4 + 1)) + 3 * arrays + 4 * 2 * 7 * 5)
    assert Case(**sizes, flatten=True).bytes_needed == 8 * (8 * (rnn + 7 * (5 * 4 + 1)) + 3 * arrays + 4 * 2 * 7)


def test_memory_counts_the_gates_of_an_lstm():
    weights = 4 * 5 * (3 + 5 + 1) + 2 * (5 + 1)
    arrays = 4 * 10 * (3 + 5 * 5)
    outputs = 4 * 2

    assert Case(layer="lstm").bytes_needed == 8 * (8 * weights + 3 * arrays + 4 * outputs)


def test_memory_counts_both_directions_and_both_heads():
    weights = 2 * 3 * 5 * (3 + 5 + 2) + 2 * 2 * (5 + 1)
    arrays = 2 * 4 * 10 * (3 + 4 * 5)
    outputs = 2 * 4 * 2

    found = Case(layer="gru", **BIDIRECTIONAL, merge_mode="none").bytes_needed

    assert found == 8 * (8 * weights + 3 * arrays + 4 * outputs)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        pytest.param(Case(), Case(return_sequences=True), id="sequences"),
        pytest.param(Case(return_sequences=True), Case(return_sequences=True, flatten=True), id="flatten"),
        *(pytest.param(Case(), Case(**{size: 100}), id=size) for size in SIZES),
        pytest.param(Case(), Case(layer="gru"), id="gru"),
        pytest.param(Case(layer="gru"), Case(layer="lstm"), id="lstm"),
        pytest.param(Case(layer="gru", reset_after=False), Case(layer="gru"), id="reset-after"),
        pytest.param(Case(), Case(layers=2), id="layers"),
        pytest.param(Case(layer="rnn"), Case(layer="stacked"), id="stacked"),
        pytest.param(Case(layer="stacked"), Case(layer="stacked", cells=3), id="cells"),
        pytest.param(Case(), Case(**BIDIRECTIONAL, merge_mode="sum"), id="bidirectional"),
        pytest.param(Case(**BIDIRECTIONAL, merge_mode="sum"), Case(**BIDIRECTIONAL), id="concat"),
        pytest.param(Case(**BIDIRECTIONAL), Case(**BIDIRECTIONAL, layers=2), id="bidirectional-layers"),
        pytest.param(Case(), Case(**TIME_DISTRIBUTED), id="time-distributed"),
        pytest.param(Case(layer="lstm"), Case(layer="conv_lstm_1d"), id="1d"),
        pytest.param(Case(layer="conv_lstm_1d"), Case(layer="conv_lstm_2d"), id="2d"),
        pytest.param(Case(layer="conv_lstm_2d"), Case(layer="conv_lstm_3d"), id="3d"),
        pytest.param(Case(layer="conv_lstm_2d"), Case(layer="conv_lstm_2d", kernel_size=3), id="kernel"),
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
        (
            Case(layer="stacked", cell="gru", cells=3, layers=2, reset_after=False),
            "stacked N4 T10 D3 M5 K2 cell=gru cells=3 layers=2 reset_after=False",
        ),
        (
            Case(layer="lstm", **BIDIRECTIONAL, merge_mode="none", mask="left", mask_from="embedding"),
            "lstm N4 T10 D3 M5 K2 wrapper=bidirectional merge_mode=none mask=left mask_from=embedding",
        ),
        (
            Case(layer="conv_lstm_2d", kernel_size=3, padding="same"),
            "conv_lstm_2d N4 T10 D3 M5 K2 kernel_size=3 padding=same",
        ),
    ],
    ids=["default", "notebook", "seed", "false", "several", "stacked", "bidirectional", "convolution"],
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
    ("case", "features"),
    [
        (Case(M=6, **BIDIRECTIONAL), 12),
        (Case(M=6, **BIDIRECTIONAL, merge_mode="none"), 6),
        (Case(T=7, M=6, **BIDIRECTIONAL, return_sequences=True, flatten=True), 7 * 12),
        (Case(M=6, **TIME_DISTRIBUTED), 6),
        (Case(M=6, **TIME_DISTRIBUTED, flatten=True), 2 * 6),
        (Case(T=7, M=6, **TIME_DISTRIBUTED, return_sequences=True, flatten=True), 2 * 7 * 6),
        (Case(M=6, layer="conv_lstm_2d"), 6),
        (Case(M=6, layer="conv_lstm_2d", flatten=True), 5 * 3 * 6),
    ],
    ids=str,
)
def test_head_reads_what_the_wrapped_layer_puts_out(case, features):
    assert case.head_inputs == features


@pytest.mark.parametrize(
    ("case", "kinds", "units"),
    [
        (Case(M=6), ("simple_rnn",), (6,)),
        (Case(M=6, layer="rnn", cell="gru"), ("gru",), (6,)),
        (Case(M=6, layer="conv_lstm_3d"), ("lstm",), (6,)),
        (Case(M=6, layer="stacked"), ("simple_rnn", "lstm"), (7, 6)),
        (Case(M=6, layer="stacked", cell="gru", cells=4), ("gru", "simple_rnn", "lstm", "gru"), (9, 8, 7, 6)),
    ],
    ids=str,
)
def test_cells_of_a_layer_are_mixed_and_their_units_different(case, kinds, units):
    assert case.cell_kinds == kinds
    assert case.cell_units == units


@pytest.mark.parametrize(
    ("options", "space"),
    [
        ({}, (5, 3)),
        ({"layers": 2}, (4, 1)),
        ({"kernel_size": 3}, (4, 2)),
        ({"strides": 2}, (3, 2)),
        ({"dilation_rate": 2}, (4, 1)),
        ({"padding": "same"}, (6, 5)),
        ({"padding": "same", "strides": 2}, (3, 3)),
        ({"padding": "same", "dilation_rate": 2}, (6, 5)),
    ],
    ids=str,
)
def test_space_shrinks_as_the_convolution_says(options, space):
    case = Case(layer="conv_lstm_2d", **options)

    assert case.space == (6, 5)
    assert case.space_after(case.layers) == space


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("dtype", dtype) for dtype in POLICIES),
        *(("mask", mask) for mask in MASKS),
        *(("layer", layer) for layer in LAYERS),
        *(("activation", alias) for alias in ALIASES),
        *(("wrapper", wrapper) for wrapper in WRAPPERS),
        *(("front", front) for front in FRONTS),
    ],
)
def test_known_choice_is_taken(option, value):
    assert getattr(Case(**{option: value}), option) == value


@pytest.mark.parametrize(
    ("option", "value", "holder"),
    [
        *(("cell", cell, {"layer": "rnn"}) for cell in GATES),
        *(("merge_mode", mode, BIDIRECTIONAL) for mode in MERGE_MODES),
        *(("mask_from", source, {"mask": "left"}) for source in MASK_SOURCES),
        *(("padding", padding, {"layer": layer}) for layer in RANKS for padding in PADDINGS),
        *(("recurrent_activation", alias, {"layer": "lstm"}) for alias in ALIASES),
    ],
)
def test_known_choice_is_taken_where_something_has_it(option, value, holder):
    assert getattr(Case(**holder, **{option: value}), option) == value


def test_docstring_describes_every_option():
    described = [line for line in Case.__doc__.splitlines() if line.startswith("    ")]

    assert described == [f"    {name}: {option.help}." for name, option in OPTIONS.items()]


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "seed"])
def test_command_has_every_option_with_its_help(rnncheck_command, name):
    text = " ".join(rnncheck_command("verify", "--help").out.split())

    flag = f"-{name} " if name in SIZES else f"--{name.replace('_', '-')} "
    assert flag in text
    assert OPTIONS[name].help in text


def test_case_cannot_be_changed():
    case = Case()

    with pytest.raises(FrozenInstanceError):
        case.N = 2


def test_notebook_case_is_the_notebook_s():
    expected = Case(N=1, T=10, D=3, M=5, K=2, activation="tanh", dtype="float32", weights="keras")

    assert expected == NOTEBOOK
