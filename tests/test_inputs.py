"""Arrays from users: taken where their meaning is clear, refused in words where it is not."""

import ml_dtypes
import numpy as np
import pytest

from rnncheck import InputError, InputSpec, Layer, Network, Tensor
from rnncheck.cases.inputs import check_inputs, random_inputs, real_array

ONE = Network("one", (InputSpec("x", (4, 3), "float32"),), (), ())
OPEN = Network("open", (InputSpec("x", (None, 3), "float32"),), (), ())
TWO = Network("two", (InputSpec("x", (4, 3), "float32"), InputSpec("mask", (4,), "bool")), (), ())


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)


@pytest.fixture
def mask():
    return np.array([[True, True, False, True], [False, False, False, False]])


def refusal(network, inputs):
    with pytest.raises(InputError) as refused:
        check_inputs(network, inputs)
    return str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda x: x, id="as-it-is"),
        pytest.param(lambda x: x.astype(">f4"), id="big-endian"),
        pytest.param(np.asfortranarray, id="fortran"),
        pytest.param(lambda x: np.repeat(x, 2, axis=1)[:, ::2], id="strided"),
        pytest.param(lambda x: x[::-1][::-1], id="negative-strides"),
        pytest.param(lambda x: x.astype(np.float64), id="float64"),
        pytest.param(lambda x: x.astype(np.longdouble), id="longdouble"),
        pytest.param(lambda x: x.tolist(), id="nested-lists"),
    ],
)
def test_layout_of_an_array_does_not_change_its_values(x, given):
    (found,) = check_inputs(ONE, [given(x)])

    np.testing.assert_array_equal(found, x)
    assert found.dtype in (np.float32, np.float64)
    assert found.dtype.isnative
    assert found.flags.c_contiguous


def test_read_only_array_is_taken_and_stays_as_it_is(x):
    x.flags.writeable = False
    before = x.copy()

    (found,) = check_inputs(ONE, x)

    np.testing.assert_array_equal(found, before)
    assert not x.flags.writeable


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.bool_, np.float32),
        (np.int8, np.float32),
        (np.uint16, np.float32),
        (np.int32, np.float32),
        (np.int64, np.float64),
        (np.float16, np.float32),
        (ml_dtypes.bfloat16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
    ],
    ids=lambda dtype: np.dtype(dtype).name,
)
def test_real_dtype_becomes_a_float_that_holds_it(dtype, expected):
    given = np.arange(12).reshape(1, 4, 3).astype(dtype)

    (found,) = check_inputs(ONE, given)

    np.testing.assert_array_equal(found, given.astype(np.float64))
    assert found.dtype == expected


def test_float64_keeps_digits_that_float32_lacks():
    given = np.full((1, 4, 3), 0.1)

    (found,) = check_inputs(ONE, given)

    assert found[0, 0, 0] == 0.1


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32], ids=lambda dtype: np.dtype(dtype).name)
def test_mask_becomes_booleans(x, mask, dtype):
    _, found = check_inputs(TWO, [x, mask.astype(dtype)])

    np.testing.assert_array_equal(found, mask)
    assert found.dtype == np.bool_


@pytest.mark.parametrize("t_steps", [1, 4, 9])
def test_open_axis_takes_any_length(t_steps):
    (found,) = check_inputs(OPEN, np.ones((2, t_steps, 3)))

    assert found.shape == (2, t_steps, 3)


WRONG = "Give all of it, samples first."
LONGER = "It has one step more than the model takes: is h_0, or another, in front? Leave it out."
SHORTER = "It is one step short: give every step, the last one too."
ALONE = "The axis of samples is missing: give array[None]."
EMPTY = "Give a sample and a step, or more."


def reshaped(shape, turned=""):
    return f"It has as many numbers: give array{turned}.reshape{shape}, if they are in that order."


@pytest.mark.parametrize(
    ("shape", "todo"),
    [
        ((4, 3), reshaped((-1, 4, 3))),
        ((3,), WRONG),
        ((), WRONG),
        ((2, 4, 3, 1), reshaped((-1, 4, 3))),
        ((2, 5, 3), LONGER),
        ((5, 2, 3), LONGER),
        ((2, 3, 3), SHORTER),
        ((2, 4, 2), WRONG),
        ((2, 3, 4), "It looks as if its axes were in another order: give array.transpose(0, 2, 1)."),
        ((4, 2, 3), "It looks time first: give array.transpose(1, 0, 2)."),
        ((0, 4, 3), EMPTY),
    ],
    ids=str,
)
def test_wrong_shape_is_refused_with_what_it_looks_like(shape, todo):
    assert refusal(ONE, np.ones(shape)) == (
        f"input 'x': got shape {shape}; expected (N, 4, 3), with at least one sample. {todo}"
    )


@pytest.mark.parametrize(
    ("shape", "todo"),
    [((2, 0, 3), EMPTY), ((2, 4, 2), WRONG), ((7, 3), ALONE)],
    ids=["no-steps", "features", "one-sample"],
)
def test_wrong_shape_is_refused_where_an_axis_is_open(shape, todo):
    assert refusal(OPEN, np.ones(shape)) == (
        f"input 'x': got shape {shape}; expected (N, any, 3), with at least one sample. {todo}"
    )


@pytest.mark.parametrize(
    ("shape", "expected", "todo"),
    [
        ((3, 10), (10, 3), "It looks transposed: give array.transpose(1, 0)."),
        ((24, 8, 16), (8, 24, 16), "It looks time first: give array.transpose(1, 0, 2)."),
        ((16, 24, 8), (8, 24, 16), "It looks as if its axes were in another order: give array.transpose(2, 1, 0)."),
        ((8, 25, 16), (8, 24, 16), LONGER),
        ((25, 8, 16), (8, 24, 16), LONGER),
        ((25, 16), (1, 24, 16), f"{ALONE} {LONGER}"),
        ((23, 16), (1, 24, 16), f"{ALONE} {SHORTER}"),
        ((192, 16), (8, 24, 16), reshaped((8, 24, 16))),
        ((16, 192), (8, 24, 16), reshaped((8, 24, 16), ".T")),
        ((8,), (8, 1), reshaped((8, 1))),
        ((7, 1), (8, 1), "Give one for each sample of the inputs."),
        ((8, 2), (8, 1), WRONG),
    ],
)
def test_shape_of_a_recording_is_refused_with_what_it_looks_like(shape, expected, todo):
    with pytest.raises(InputError) as refused:
        real_array("y", np.ones(shape), expected)

    assert str(refused.value) == f"y: got shape {shape}; expected {expected}. {todo}"


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        pytest.param(np.ones((2, 4, 3), np.complex64), "complex64", id="complex"),
        pytest.param(np.ones((2, 4, 3), object), "object", id="object"),
        pytest.param(np.full((2, 4, 3), "1"), "<U1", id="strings"),
        pytest.param(np.zeros((2, 4, 3), "M8[s]"), "datetime64[s]", id="dates"),
        pytest.param(None, "object", id="none"),
    ],
)
def test_dtype_that_is_not_real_is_refused(given, dtype):
    assert refusal(ONE, given) == (
        f"input 'x': got dtype {dtype}; expected real numbers. Convert it: array.astype('float32') does."
    )


def test_ragged_list_is_refused():
    ragged = [[[1.0, 2.0, 3.0]] * 4, [[1.0, 2.0, 3.0]] * 5]
    with pytest.raises(ValueError, match="inhomogeneous") as numpy_says:
        np.asarray(ragged)

    assert refusal(ONE, [ragged]) == (
        f"input 'x': got something that is no array ({numpy_says.value}); expected numbers. Give nested lists of "
        "one shape."
    )


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")], ids=["nan", "inf", "minus-inf"]
)
@pytest.mark.parametrize(
    "dtype",
    [np.float16, np.float32, np.float64, ml_dtypes.bfloat16],
    ids=["float16", "float32", "float64", "bfloat16"],
)
def test_number_that_is_not_finite_is_refused_by_its_first_place(x, value, said, dtype):
    x[1, 2, 0] = x[1, 3, 1] = value

    assert (
        refusal(ONE, x.astype(dtype))
        == f"input 'x': got {said} at [1, 2, 0]; expected finite numbers. Leave such samples out."
    )


def test_mask_that_is_not_a_number_is_refused(x, mask):
    uncertain = mask.astype(np.float32)
    uncertain[0, 1] = np.nan

    assert refusal(TWO, [x, uncertain]) == (
        "input 'mask': got nan at [0, 1]; expected finite numbers. Leave such samples out."
    )


def test_wrong_number_of_arrays_is_refused(x, mask):
    assert refusal(TWO, x) == "inputs: got 1 array; expected 2: 'x', 'mask'. Give one for each."
    assert refusal(TWO, [x, mask, mask]) == "inputs: got 3 arrays; expected 2: 'x', 'mask'. Give one for each."
    assert refusal(ONE, []) == "inputs: got 0 arrays; expected 1: 'x'. Give one for each."


def test_arrays_by_name_come_in_the_order_of_the_network(x, mask):
    found = check_inputs(TWO, {"mask": mask, "x": x})

    np.testing.assert_array_equal(found[0], x)
    np.testing.assert_array_equal(found[1], mask)


@pytest.mark.parametrize(
    ("names", "said"),
    [([], "nothing"), (["x"], "'x'"), (["x", "Mask"], "'x', 'Mask'"), (["x", "mask", "h0"], "'x', 'mask', 'h0'")],
    ids=["none", "missing", "misspelled", "too-many"],
)
def test_wrong_names_are_refused(x, names, said):
    assert refusal(TWO, dict.fromkeys(names, x)) == (
        f"inputs: got arrays named {said}; expected 'x', 'mask'. Rename them."
    )


def test_arrays_of_different_numbers_of_samples_are_refused(x, mask):
    assert refusal(TWO, [x, mask[:1]]) == (
        "input 'mask': got 1 samples; expected 2, as of input 'x'. Give as many of each."
    )


def test_second_array_is_checked_like_the_first(x):
    assert refusal(TWO, [x, np.ones((2, 5))]) == (
        "input 'mask': got shape (2, 5); expected (N, 4), with at least one sample. " + WRONG
    )


SQUARE = {"kernel": np.ones((3, 2)), "recurrent_kernel": np.ones((2, 2))}
STATEFUL = Network(
    "stateful",
    (InputSpec("x", (4, 3), "float32", samples=2),),
    (Layer("rnn", "SimpleRNN", (Tensor("x"),), {"stateful": True, "return_sequences": False}, SQUARE),),
    (Tensor("rnn"),),
)


def test_stateful_model_takes_its_own_number_of_samples_only(x):
    (found,) = check_inputs(STATEFUL, [x])

    assert len(found) == 2
    assert refusal(STATEFUL, [np.concatenate([x, x])]) == (
        "input 'x': got 4 samples; expected 2, the batch of a stateful model, which keeps a state for each. "
        "Give as many."
    )


def test_fixed_number_of_samples_binds_stateful_models_only(x):
    other = Network("other", STATEFUL.inputs, (), ())

    (found,) = check_inputs(other, [np.concatenate([x, x])])

    assert len(found) == 4


def test_shape_of_many_axes_is_refused_soon():
    shape = (2, *range(3, 15))

    with pytest.raises(InputError, match="Give all of it, samples first"):
        real_array("y", np.broadcast_to(0.0, shape), (*shape[:-1], 1))


def test_random_whole_numbers_that_no_embedding_reads_are_small_and_positive():
    flat = Layer("flat", "Flatten", (Tensor("x"),), {"data_format": "channels_last"})
    network = Network("counts", (InputSpec("x", (None, 3), "int32"),), (flat,), (Tensor("flat"),))

    (array,) = random_inputs(network, 0, samples=50)

    assert array.shape == (50, 12, 3)
    assert set(np.unique(array)) == set(range(1, 10))
