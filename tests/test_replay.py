"""The replay against a second reference: scalar, formula by formula, exactly rounded sums."""

from itertools import product

import numpy as np
import pytest
import reference
from reference import make_inputs, make_network

from rnncheck.equations.arithmetic import FREE_RUNNING, Emulation
from rnncheck.equations.replay import replay
from rnncheck.network import InputSpec, Layer, Network, Tensor
from rnncheck.rounding.precision import PRECISIONS

SIZES = [
    (1, 1, 1, 1, 1),
    (1, 10, 3, 5, 2),
    (2, 4, 1, 3, 5),
    (3, 7, 4, 6, 2),
    (4, 50, 3, 8, 2),
    (5, 3, 16, 12, 4),
    (2, 5, 2, 33, 1),
]
FLAGS = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")


def sizes_id(sizes):
    return " ".join(f"{name}{size}" for name, size in zip("NTDMK", sizes, strict=True))


def flags_id(flags):
    return " ".join(name for name, on in zip(FLAGS, flags, strict=True) if on) or "none"


def replay_calls(network, calls, arithmetic=None):
    """Replay several calls in a row; return the list of outputs of each."""
    states, results = None, []
    for call in calls:
        replayed = replay(network, call, states=states, **({"arithmetic": arithmetic} if arithmetic else {}))
        states = replayed.states
        results.append(list(replayed.outputs))
    return results


def assert_same(actual, expected, rtol=1e-12):
    """Compare the outputs of several calls; every shape and every number."""
    assert len(actual) == len(expected)
    for one_call, expected_call in zip(actual, expected, strict=True):
        assert len(one_call) == len(expected_call)
        for array, nested in zip(one_call, expected_call, strict=True):
            assert array.shape == np.shape(nested)
            np.testing.assert_allclose(array, np.array(nested), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("sizes", SIZES, ids=sizes_id)
def test_replay_gives_the_reference_at_every_size(sizes):
    N, T, D, M, K = sizes
    network = make_network(T=T, D=D, M=M, K=K, seed=N)
    calls = [make_inputs(network, N)]

    assert_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize("activation", sorted(reference.ACTIVATIONS))
@pytest.mark.parametrize("where", ["recurrent", "dense"])
def test_replay_gives_the_reference_for_every_activation(activation, where):
    option = "activation" if where == "recurrent" else "dense_activation"
    network = make_network(T=7, D=4, M=6, K=2, recurrent_scale=0.6, return_sequences=True, **{option: activation})
    calls = [make_inputs(network, 3)]

    assert_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize("flags", list(product((False, True), repeat=4)), ids=flags_id)
@pytest.mark.parametrize("initial_state", [False, True], ids=["zero_start", "given_start"])
def test_replay_gives_the_reference_for_every_combination_of_options_under_a_mask(flags, initial_state):
    options = dict(zip(FLAGS, flags, strict=True))
    network = make_network(T=9, D=2, M=4, K=3, mask=True, initial_state=initial_state, **options)
    calls = [make_inputs(network, 5, seed=3)]

    assert_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": True},
        {"mask": True, "zero_output_for_mask": True},
        {"go_backwards": True},
        {"return_sequences": True, "return_state": True},
        {"initial_state": True, "return_state": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_replay_of_a_stateful_layer_goes_on_from_the_call_before(options):
    network = make_network(T=4, D=3, M=5, K=2, stateful=True, **options)
    calls = [make_inputs(network, 3, seed=seed) for seed in (1, 2, 3)]

    results = replay_calls(network, calls)

    assert_same(results, reference.run(network, calls))
    started_afresh = replay(network, calls[1]).outputs[0]
    assert np.allclose(results[1][0], started_afresh) == ("initial_state" in options)


def test_replay_of_a_stateful_layer_that_is_given_no_states_starts_from_zero():
    stateful = make_network(T=4, D=3, M=5, K=2, stateful=True)
    fresh = make_network(T=4, D=3, M=5, K=2)
    call = make_inputs(fresh, 2)

    np.testing.assert_array_equal(replay(stateful, call).outputs[0], replay(fresh, call).outputs[0])
    assert set(replay(stateful, call).states) == {"rnn"}
    assert replay(fresh, call).states == {}


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"dense_activation": "softmax"}], ids=str)
def test_replay_gives_the_reference_behind_flatten(options):
    network = make_network(T=6, D=3, M=4, K=5, flatten=True, **options)
    calls = [make_inputs(network, 3)]

    assert_same(replay_calls(network, calls), reference.run(network, calls))


def test_replay_without_biases_gives_the_reference():
    network = make_network(T=6, D=3, M=4, K=5, use_bias=False, initial_state=True)
    calls = [make_inputs(network, 3)]

    assert_same(replay_calls(network, calls), reference.run(network, calls))


def test_replay_of_many_steps_is_the_same_across_the_pieces_in_which_it_projects():
    network = make_network(T=700, D=2, M=16, K=1, recurrent_scale=0.7)
    calls = [make_inputs(network, 12)]  # 700·12·16 numbers are more than one piece of 2^16

    assert_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize("ahead", [1, 64, 200])
@pytest.mark.parametrize("options", [{"kind": "GRU"}, {"go_backwards": True, "mask": True}], ids=["gru", "masked"])
def test_replay_is_the_same_in_pieces_of_any_size(monkeypatch, options, ahead):
    network = make_network(T=23, D=3, M=5, K=2, **options)
    inputs = make_inputs(network, 3)
    whole = replay(network, inputs, arithmetic=FREE_RUNNING).outputs[0]

    monkeypatch.setattr("rnncheck.equations.replay._AHEAD", ahead)
    pieces = replay(network, inputs, arithmetic=FREE_RUNNING).outputs[0]

    np.testing.assert_allclose(pieces.value, whole.value, rtol=1e-12)
    np.testing.assert_allclose(pieces.noise, whole.noise, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_normalization_in_a_half_format_is_rounded_to_it_at_the_end(rng, dtype):
    """It computes in float32; what follows receives a number of the half format, with its rounding."""
    options = {"axis": -1, "epsilon": 1e-3, "center": True, "scale": True, "rms_scaling": False}
    weights = {"gamma": rng.normal(size=4).astype(np.float32), "beta": rng.normal(size=4).astype(np.float32)}
    layer = Layer("norm", "LayerNormalization", (Tensor("inputs"),), options, weights, dtype)
    network = Network("half", (InputSpec("inputs", (4,), dtype),), (layer,), (Tensor("norm"),))
    x = rng.normal(size=(500, 4)).astype(np.float32)

    (plain,), (rounded,) = (replay(network, (x,), arithmetic=each).outputs for each in (Emulation(), FREE_RUNNING))

    precision = PRECISIONS[dtype]
    assert rounded.precision is precision
    np.testing.assert_array_equal(plain, precision.round(plain))
    scores = (plain - rounded.value) / rounded.noise
    assert 0.3 < np.sqrt(np.mean(scores**2)) < 1.1


def test_mask_before_the_first_step_that_counts_puts_out_zero_and_keeps_the_given_state():
    network = make_network(
        T=3, D=2, M=4, K=1, mask=True, initial_state=True, return_sequences=True, return_state=True
    )
    network = type(network)(network.name, network.inputs, network.layers, (Tensor("rnn"), Tensor("rnn", 1)))
    x, h0, counts = make_inputs(network, 2)
    counts[:] = [[False, False, True], [False, False, False]]

    sequence, state = replay(network, (x, h0, counts)).outputs

    assert not sequence[0, :2].any()
    assert sequence[0, 2].all()
    assert not sequence[1].any()
    np.testing.assert_array_equal(state[1], h0[1])


def test_mask_repeats_the_output_and_not_the_state_of_the_call_before():
    network = make_network(T=3, D=2, M=4, K=1, mask=True, stateful=True, return_sequences=True)
    network = type(network)(network.name, network.inputs, network.layers, (Tensor("rnn"),))
    x, counts = make_inputs(network, 2)
    counts[:] = [[True, False, True], [True, True, False]]
    first = replay(network, (x, counts))
    counts[:] = [[False, True, False], [False, False, True]]

    (sequence,) = replay(network, (x, counts), states=first.states).outputs

    assert not sequence[:, 0].any()
    assert not sequence[1, 1].any()
    np.testing.assert_array_equal(sequence[0, 2], sequence[0, 1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("input_dtype", ["float32", None], ids=["mixed", "pure"])
@pytest.mark.parametrize("initial_state", [False, True], ids=["zero_start", "given_start"])
def test_weights_and_inputs_are_rounded_to_the_precision_of_the_layer_first(dtype, input_dtype, initial_state):
    sizes = {"T": 5, "D": 3, "M": 7, "K": 2}
    network = make_network(**sizes, dtype=dtype, input_dtype=input_dtype, initial_state=initial_state)
    unrounded = make_network(**sizes, dtype="float64", initial_state=initial_state)
    calls = [make_inputs(network, 4)]

    results = replay_calls(network, calls)

    assert_same(results, reference.run(network, calls))
    changed = not np.array_equal(results[0][0], replay(unrounded, calls[0]).outputs[0])
    assert changed == (dtype in ("float16", "bfloat16"))


def test_inputs_are_rounded_to_the_declared_dtype_before_the_layer_sees_them():
    network = make_network(T=4, D=3, M=5, K=2, dtype="float32", input_dtype="float16")
    (x,) = make_inputs(network, 2)

    actual = replay(network, (x,)).outputs[0]

    coarse = x.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(actual, replay(network, (coarse,)).outputs[0])
    assert not np.array_equal(coarse, x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": True, "initial_state": True, "return_sequences": True, "return_state": True},
        {"mask": True, "zero_output_for_mask": True, "go_backwards": True},
        {"flatten": True, "dense_activation": "softmax"},
        {"activation": "relu"},
        {"activation": "leaky_relu", "use_bias": False},
        {"stateful": True, "return_state": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_replay_that_carries_noise_has_the_same_values(dtype, options):
    network = make_network(T=8, D=3, M=6, K=4, dtype=dtype, recurrent_scale=0.7, **options)
    calls = [make_inputs(network, 3, seed=seed) for seed in (1, 2)]

    plain = replay_calls(network, calls)
    noisy = replay_calls(network, calls, FREE_RUNNING)

    assert_same([[rounded.value for rounded in call] for call in noisy], plain, rtol=4e-15)
    for rounded in (rounded for call in noisy for rounded in call):
        assert rounded.noise.shape == rounded.shape
        assert np.all(rounded.noise > 0.0)
        assert rounded.bound is None


def test_replay_carries_no_noise_where_nothing_was_computed():
    network = make_network(T=4, D=2, M=3, K=1, mask=True, return_sequences=True)
    network = type(network)(network.name, network.inputs, network.layers, (Tensor("rnn"),))
    x, counts = make_inputs(network, 2)

    (rounded,) = replay(network, (x, counts), arithmetic=FREE_RUNNING).outputs

    smallest = rounded.precision.underflow
    assert not counts[1].any()
    np.testing.assert_array_equal(rounded.value[1], 0.0)
    np.testing.assert_array_equal(rounded.noise[1], smallest)
    assert np.all(rounded.noise[0][counts[0]] > 1e3 * smallest)


def test_replay_leaves_the_arrays_that_it_was_given_alone():
    network = make_network(T=4, D=2, M=3, K=1, mask=True, initial_state=True)
    given = make_inputs(network, 2)
    copies = [array.copy() for array in given]

    replay(network, given)

    for array, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_replay_does_not_depend_on_memory_layout_or_byte_order():
    network = make_network(T=5, D=3, M=4, K=2)
    (x,) = make_inputs(network, 3)

    expected = replay(network, (x,)).outputs[0]

    wide = np.zeros((3, 10, 6), np.float32)
    wide[:, ::2, ::2] = x
    for other in (np.asfortranarray(x), wide[:, ::2, ::2], x.astype(">f4"), x.astype(np.float64)):
        np.testing.assert_allclose(replay(network, (other,)).outputs[0], expected, rtol=1e-14)


def test_reference_rounds_as_numpy_does():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=2000) * 10.0 ** rng.integers(-9, 4, size=2000)
    ties = [1.0 + 2.0**-11, 1.0 + 3 * 2.0**-11, 2.0**-25, 3 * 2.0**-25, 0.0, -0.0]

    for dtype in ("float16", "float32"):
        expected = np.array([*numbers, *ties]).astype(dtype).astype(float)
        assert [reference.rounded(float(number), dtype) for number in [*numbers, *ties]] == expected.tolist()
