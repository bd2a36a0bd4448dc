"""The mask matrix: equalities that hold without a reference, over every cell and every option that meets a mask."""

from itertools import product

import numpy as np
import pytest
from reference import CELLS, DOUBLE, make_bidirectional, make_inputs, make_network

from rnncheck.equations.arithmetic import FREE_RUNNING
from rnncheck.equations.replay import replay
from rnncheck.network import Network

N, T, D, M = 3, 6, 2, 4
COUNTED = 4  # the steps that count where a sequence is padded
FLAGS = ("go_backwards", "return_sequences", "zero_output_for_mask", "stateful")
MERGE_MODES = ("concat", "sum", "mul", "ave", None)
HIDDEN_VALUES = (np.nan, np.inf, 1e30)

over_cells = pytest.mark.parametrize("cell", CELLS)
over_flags = pytest.mark.parametrize(
    "flags",
    [dict(zip(FLAGS, flags, strict=True)) for flags in product((False, True), repeat=len(FLAGS))],
    ids=lambda flags: " ".join(name for name, on in flags.items() if on) or "none",
)
over_paddings = pytest.mark.parametrize("padding", ["left", "right"])


def make(cell, flags, *, mask=True):
    """The cell alone; it starts from given states, except where it keeps its own from call to call."""
    options = {**DOUBLE, **CELLS[cell], **flags, "mask": mask, "initial_state": not flags["stateful"]}
    return make_network(T=T, D=D, M=M, K=None, return_state=True, **options)


def make_calls(network, *, masks):
    """One call for each mask, a stateful network's one after the other; the inputs are all different."""
    calls = []
    for seed, mask in enumerate(masks):
        *arrays, _ = make_inputs(network, N, seed=seed)
        calls.append((*arrays, np.broadcast_to(mask, (N, T))))
    return calls


def masks_for(flags, *masks):
    """A stateful layer is called once for each mask, another layer once."""
    return masks if flags["stateful"] else masks[:1]


def run(network, calls):
    """Return for each call its sequence or last output, and its final states."""
    states, results = None, []
    for call in calls:
        replayed = replay(network, call, states=states)
        states = replayed.states
        results.append((replayed.outputs[0], replayed.outputs[1:]))
    return results


def initial_states(network, calls, results):
    """Return for each call the states that it started from."""
    if network.layer("rnn").initial_state:
        return [call[1:-1] for call in calls]
    return [tuple(np.zeros_like(h) for h in results[0][1]), *(states for _, states in results[:-1])]


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-13)


def assert_same_numbers(actual, expected):
    """Compare the results of `run` bit by bit; NaN equals nothing."""
    for (output, states), (expected_output, expected_states) in zip(actual, expected, strict=True):
        for array, other in zip((output, *states), (expected_output, *expected_states), strict=True):
            assert np.array_equal(array, other)


def without_mask(network):
    """The same network, its layers deaf to the mask that it is still given."""
    layers = [
        type(layer)(
            layer.name, layer.kind, layer.inputs, layer.options, layer.weights, layer.dtype, None, layer.initial_state
        )
        for layer in network.layers
    ]
    return Network(network.name, network.inputs, tuple(layers), network.outputs)


def shortened(call, steps):
    """The call with some of its steps only."""
    return (call[0][:, steps], *call[1:-1], call[-1][:, steps])


def padded_output(short, flags, *, padding_comes_last):
    """What a sequence's padding makes of the output without it: repeated or zero behind it, zero before it."""
    if not flags["return_sequences"]:
        return np.zeros_like(short) if padding_comes_last and flags["zero_output_for_mask"] else short
    repeats = np.repeat(short[:, -1:], T - COUNTED, axis=1)
    zeros = np.zeros_like(repeats)
    if not padding_comes_last:
        return np.concatenate([zeros, short], axis=1)
    return np.concatenate([short, zeros if flags["zero_output_for_mask"] else repeats], axis=1)


def counted_steps(padding):
    return slice(None, COUNTED) if padding == "right" else slice(T - COUNTED, None)


def padding_mask(padding):
    mask = np.zeros(T, bool)
    mask[counted_steps(padding)] = True
    return mask


@pytest.mark.few(56)
@over_cells
@over_flags
@over_paddings
def test_padded_sequence_equals_the_shorter_run(cell, flags, padding):
    network, steps = make(cell, flags), counted_steps(padding)
    calls = make_calls(network, masks=masks_for(flags, padding_mask(padding), padding_mask(padding)))

    padded = run(network, calls)
    short = run(without_mask(network), [shortened(call, steps) for call in calls])

    padding_comes_last = (padding == "right") != flags["go_backwards"]
    for (output, states), (short_output, short_states) in zip(padded, short, strict=True):
        assert_close(output, padded_output(short_output, flags, padding_comes_last=padding_comes_last))
        for state, short_state in zip(states, short_states, strict=True):
            assert_close(state, short_state)


HOLES = np.array([
    [False, True, True, False, True, False],
    [True, False, True, True, True, False],
    [False, False, False, False, False, False],
])  # fmt: skip
OTHER_HOLES = HOLES[:, ::-1]


@pytest.mark.few(56)
@over_cells
@over_flags
def test_sequence_with_holes_equals_the_run_of_the_steps_that_count(cell, flags):
    network = make(cell, {**flags, "return_sequences": True})
    calls = make_calls(network, masks=masks_for(flags, HOLES, OTHER_HOLES))

    results = run(network, calls)

    for n in range(N - 1):
        alone = [tuple(array[n : n + 1] for array in call) for call in calls]
        counted = run(without_mask(network), [shortened(call, call[-1][0]) for call in alone])
        for (output, states), (dense, dense_states), call in zip(results, counted, alone, strict=True):
            counts = call[-1][0][::-1] if flags["go_backwards"] else call[-1][0]
            assert_close(output[n : n + 1, counts], dense)
            for state, dense_state in zip(states, dense_states, strict=True):
                assert_close(state[n : n + 1], dense_state)


@pytest.mark.few(56)
@over_cells
@over_flags
def test_output_of_a_hole_repeats_the_one_before_or_is_zero(cell, flags):
    network = make(cell, {**flags, "return_sequences": True})
    calls = make_calls(network, masks=masks_for(flags, HOLES, OTHER_HOLES))

    for (output, _), call in zip(run(network, calls), calls, strict=True):
        counts = call[-1][:, ::-1] if flags["go_backwards"] else call[-1]
        before = np.concatenate([np.zeros_like(output[:, :1]), output[:, :-1]], axis=1)
        before = np.zeros_like(before) if flags["zero_output_for_mask"] else before

        assert np.array_equal(output[~counts], before[~counts])
        assert np.all(output[counts] != before[counts])


@pytest.mark.few(56)
@over_cells
@over_flags
@pytest.mark.parametrize("hidden", HIDDEN_VALUES, ids=str)
def test_values_under_a_mask_never_matter(cell, flags, hidden):
    network = make(cell, flags)
    calls = make_calls(network, masks=masks_for(flags, HOLES, OTHER_HOLES))
    expected = run(network, calls)

    for x, *_, mask in calls:
        x[~mask] = hidden

    assert_same_numbers(run(network, calls), expected)


@over_cells
@pytest.mark.parametrize("hidden", HIDDEN_VALUES, ids=str)
def test_values_under_a_mask_never_matter_to_the_noise(cell, hidden):
    flags = {**dict.fromkeys(FLAGS, False), "return_sequences": True}
    network = make(cell, flags)
    (call,) = make_calls(network, masks=[HOLES])
    expected = replay(network, call, arithmetic=FREE_RUNNING)

    call[0][~HOLES] = hidden
    actual = replay(network, call, arithmetic=FREE_RUNNING)

    for rounded, other in zip(actual.outputs, expected.outputs, strict=True):
        assert np.array_equal(rounded.value, other.value)
        assert np.array_equal(rounded.noise, other.noise)
    assert actual.growths.tolist() == expected.growths.tolist()


@pytest.mark.few(56)
@over_cells
@over_flags
def test_fully_masked_row_puts_out_zero_and_keeps_the_states(cell, flags):
    network = make(cell, flags)
    calls = make_calls(network, masks=masks_for(flags, np.array([[True], [False], [True]]), HOLES))

    results = run(network, calls)

    for (output, states), starts, call in zip(results, initial_states(network, calls, results), calls, strict=True):
        masked = ~call[-1].any(axis=1)
        assert masked.any()
        assert not output[masked].any()
        for state, start in zip(states, starts, strict=True):
            assert np.array_equal(state[masked], start[masked])
            assert np.all(state[~masked] != start[~masked])


@pytest.mark.few(56)
@over_cells
@over_flags
def test_mask_in_which_every_step_counts_equals_no_mask(cell, flags):
    network = make(cell, flags)
    calls = make_calls(network, masks=masks_for(flags, True, True))

    assert_same_numbers(run(network, calls), run(without_mask(network), calls))


@pytest.mark.few(56)
@over_cells
@over_flags
def test_mask_of_a_sample_does_not_matter_to_the_others(cell, flags):
    network = make(cell, flags)
    calls = make_calls(network, masks=masks_for(flags, HOLES, OTHER_HOLES))
    other = [(*call[:-1], np.where([[True], [True], [False]], call[-1], ~call[-1])) for call in calls]

    for (output, states), (other_output, other_states) in zip(run(network, calls), run(network, other), strict=True):
        for array, changed in zip((output, *states), (other_output, *other_states), strict=True):
            assert np.array_equal(array[:2], changed[:2])
        assert not np.array_equal(states[0][2], other_states[0][2])


def make_both(merge_mode, cell, *, return_sequences):
    options = {"forward": cell, "backward": cell, "return_sequences": return_sequences}
    return make_bidirectional(T=T, D=D, M=M, merge_mode=merge_mode, mask=True, initial_state=True, **options)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("merge_mode", MERGE_MODES)
@pytest.mark.parametrize("return_sequences", [False, True], ids=["last", "sequences"])
@over_paddings
def test_padded_sequence_equals_the_shorter_run_in_both_directions(cell, merge_mode, return_sequences, padding):
    network, steps = make_both(merge_mode, cell, return_sequences=return_sequences), counted_steps(padding)
    (call,) = make_calls(network, masks=[padding_mask(padding)])
    sequences = (2 if merge_mode is None else 1) if return_sequences else 0

    padded = replay(network, call).outputs
    short = replay(without_mask(network), shortened(call, steps)).outputs

    for output, expected in zip(padded[:sequences], short[:sequences], strict=True):
        assert_close(output[:, steps], expected)
        assert not output[:, ~call[-1][0]].any()
    for output, expected in zip(padded[sequences:], short[sequences:], strict=True):
        assert_close(output, expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("merge_mode", MERGE_MODES)
@pytest.mark.parametrize("return_sequences", [False, True], ids=["last", "sequences"])
@pytest.mark.parametrize("hidden", HIDDEN_VALUES, ids=str)
def test_values_under_a_mask_never_matter_in_both_directions(cell, merge_mode, return_sequences, hidden):
    network = make_both(merge_mode, cell, return_sequences=return_sequences)
    (call,) = make_calls(network, masks=[HOLES])
    expected = replay(network, call).outputs

    call[0][~HOLES] = hidden

    for output, other in zip(replay(network, call).outputs, expected, strict=True):
        assert np.array_equal(output, other)
