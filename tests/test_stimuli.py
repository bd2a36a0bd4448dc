"""Random inputs for a network: of the right shapes, and such that every layer has something to show."""

import numpy as np
import pytest

from rnncheck import InputError, InputSpec, Layer, Network, Tensor
from rnncheck.cases.inputs import make_mask, random_inputs


def network(*specs, layers=()):
    return Network("n", specs, layers, ())


def embedding(rows, reads="ids", name="embedding"):
    return Layer(name, "Embedding", (Tensor(reads),), weights={"embeddings": np.ones((rows, 2))})


def not_equal(value, reads="x"):
    return Layer("mask", "NotEqual", (Tensor(reads),), {"value": value})


OPEN = InputSpec("x", (None, 3), "float32")
FIXED = InputSpec("x", (6, 3), "float32")
IDS = InputSpec("ids", (6,), "int32")


@pytest.mark.parametrize(
    ("spec", "sizes", "shape"),
    [
        (OPEN, {}, (4, 12, 3)),
        (OPEN, {"samples": 2, "steps": 5}, (2, 5, 3)),
        (FIXED, {}, (4, 6, 3)),
        (FIXED, {"samples": 7}, (7, 6, 3)),
        (InputSpec("x", (6, 3), "float32", samples=5), {}, (5, 6, 3)),
        (InputSpec("x", (6, 3), "float32", samples=5), {"samples": 5}, (5, 6, 3)),
        (InputSpec("x", (None, None, 3), "float32"), {"steps": 5}, (4, 5, 5, 3)),
        (InputSpec("x", (), "float32"), {}, (4,)),
    ],
    ids=["open", "open-given", "fixed", "fixed-given", "batch", "batch-given", "two-open", "no-axis"],
)
def test_shape_is_the_model_s_where_it_says_and_ours_where_not(spec, sizes, shape):
    (found,) = random_inputs(network(spec), 0, **sizes)

    assert found.shape == shape


def test_one_fixed_batch_is_that_of_all_inputs():
    found = random_inputs(network(OPEN, InputSpec("y", (3,), "float32", samples=5)), 0)

    assert [array.shape for array in found] == [(5, 12, 3), (5, 3)]


def test_steps_are_those_of_the_inputs_that_leave_them_open():
    arrays = random_inputs(network(InputSpec("x", (None, 3), "float32"), InputSpec("h", (5,), "float32")), 0, steps=7)

    assert [array.shape for array in arrays] == [(4, 7, 3), (4, 5)]


def test_seed_decides_the_numbers():
    a, b, c = (random_inputs(network(OPEN), seed)[0] for seed in (1, 1, 2))

    np.testing.assert_array_equal(a, b)
    assert np.all(a != c)


def test_numbers_are_normal_and_all_different():
    (found,) = random_inputs(network(OPEN), 0, samples=100, steps=20)

    assert len(np.unique(found)) > 0.99 * found.size
    assert (abs(found.mean()), abs(found.std() - 1.0)) < (0.05, 0.05)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "uint8"])
def test_ids_are_those_of_the_table(dtype):
    (found,) = random_inputs(network(InputSpec("ids", (6,), dtype), layers=(embedding(5),)), 0, samples=50)

    assert set(found.ravel()) == {1, 2, 3, 4}


@pytest.mark.parametrize("rows", [1, 2])
def test_small_table_has_ids_too(rows):
    (found,) = random_inputs(network(IDS, layers=(embedding(rows),)), 0)

    assert set(found.ravel()) == {rows - 1}


def test_ids_are_those_of_the_smallest_table_that_reads_them():
    layers = (embedding(50), embedding(3, name="other"), embedding(2, reads="else", name="third"))

    (found,) = random_inputs(network(IDS, layers=layers), 0)

    assert set(found.ravel()) == {1, 2}


def test_ids_are_followed_through_layers_that_only_move_them():
    layers = (Layer("fold", "FoldTime", (Tensor("ids"),)), embedding(3, reads="fold"))

    (found,) = random_inputs(network(InputSpec("ids", (6, 4), "float32"), layers=layers), 0)

    assert set(found.ravel()) == {1.0, 2.0}


@pytest.mark.parametrize("value", [0.0, -7.5])
def test_steps_that_a_masking_layer_leaves_out_are_there(value):
    (found,) = random_inputs(network(OPEN, layers=(not_equal(value),)), 0, samples=6)
    left_out = (found == value).all(axis=-1)

    assert ((found == value).any(axis=-1) == left_out).all()
    assert left_out[3].all()
    counts = ~np.delete(left_out, 3, axis=0)
    assert counts.any(axis=1).all()
    assert (~counts[:, 0]).any()
    assert (~counts[:, -1]).any()


def test_ids_that_a_mask_leaves_out_are_there():
    (found,) = random_inputs(network(IDS, layers=(embedding(5), not_equal(0, "ids"))), 0)

    assert (found[2] == 0).all()
    assert (found > 0).any()


def test_masks_have_steps_of_both_kinds():
    (found,) = random_inputs(network(InputSpec("mask", (9,), "bool")), 0)

    assert found.dtype == bool
    assert not found[2].any()
    assert found[0].any()
    assert not found[0].all()


def test_one_sample_has_steps_that_count():
    (found,) = random_inputs(network(InputSpec("mask", (9,), "bool")), 0, samples=1)

    assert found.any()


@pytest.mark.parametrize(
    ("spec", "sizes", "message"),
    [
        (OPEN, {"samples": 0}, "got N=0; expected a whole number from 1 up."),
        (OPEN, {"steps": -1}, "got T=-1; expected a whole number from 1 up."),
        (
            InputSpec("x", (6, 3), "float32", samples=5),
            {"samples": 4},
            "got N=4; expected 5, the batch that the model fixes for input 'x'. Leave it out.",
        ),
        (
            FIXED,
            {"steps": 6},
            "got T=6; expected none, since the model fixes its steps: 'x' (N, 6, 3). Leave it out.",
        ),
    ],
    ids=["N0", "T-1", "batch", "steps"],
)
def test_sizes_that_are_not_open_are_refused(spec, sizes, message):
    with pytest.raises(InputError) as refused:
        random_inputs(network(spec), 0, **sizes)

    assert str(refused.value) == f"random inputs: {message}"


def test_sizes_beyond_the_memory_are_refused():
    with pytest.raises(InputError, match=r"random inputs: got \(4, 1000000000000, 3\), which need 87.3 TiB; "):
        random_inputs(network(OPEN), 0, steps=10**12)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_mixed_masks_have_one_sample_in_which_nothing_counts(n):
    mask = make_mask("mixed", n, 9, np.random.default_rng(0))

    assert [row for row in range(n) if not mask[row].any()] == [n // 2]
    assert make_mask("mixed", 1, 9, np.random.default_rng(0)).any()
