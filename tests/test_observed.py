"""What the checks see of a run: NaN in it, its first samples, and what lies between two layers."""

from dataclasses import replace

import numpy as np
import pytest
from reference import make_bidirectional, make_inputs, make_network

import rnncheck
from rnncheck.checks.check import check
from rnncheck.checks.lining_up import lined_up
from rnncheck.checks.observed import disagreements, observe
from rnncheck.checks.relations import Related
from rnncheck.checks.steps import differences
from rnncheck.checks.verdicts import Verdict
from rnncheck.equations.arithmetic import FREE_RUNNING
from rnncheck.equations.cells import cell_of
from rnncheck.equations.formats import FORMATS, in_format
from rnncheck.equations.replay import replay
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import injections
from rnncheck.faults.emulation import emulate
from rnncheck.network import Activation, InputSpec, Layer, Network, Recording, Tensor


def test_nan_in_both_runs_is_no_disagreement():
    network = make_network(T=5, D=2, M=4, K=None, return_sequences=True)
    (inputs,) = make_inputs(network, 3)
    inputs[1, 2] = np.nan
    recordings = emulate(network, [(inputs,)])

    assert np.isnan(recordings[0].outputs[0][1, 2:]).all()
    assert disagreements(network, observe(network, recordings)) == ()


def test_nan_in_one_run_alone_is_a_disagreement():
    network = make_network(T=5, D=2, M=4, K=None, return_sequences=True)
    (recording,) = emulate(network, [make_inputs(network, 3)])
    (outputs,) = recording.outputs
    outputs = outputs.copy()
    outputs[1, 2, 3] = np.nan

    (note,) = disagreements(network, observe(network, [replace(recording, outputs=(outputs,))]))

    assert note.startswith("layer 'rnn': the run that shows the states ends in other numbers than the plain run")


def test_first_samples_are_a_run_of_their_own():
    network = make_network(T=5, D=2, M=4, K=1)
    (call,) = observe(network, emulate(network, [make_inputs(network, 6)]))

    first = call.first_samples(2)

    assert [len(array) for array in (*first.recording.inputs, *first.recording.outputs)] == [2, 2]
    np.testing.assert_array_equal(first.recording.outputs[0], call.recording.outputs[0][:2])


def test_samples_that_belong_together_stay_together():
    network = make_network(T=5, D=2, M=4, K=1)
    start = Layer("start", "Constant", weights={"value": np.linspace(-1.0, 1.0, 24).reshape(6, 4)})
    rnn, *others = network.layers
    network = replace(network, layers=(start, replace(rnn, initial_state=(Tensor("start"),)), *others))
    (call,) = observe(network, emulate(network, [make_inputs(network, 6)]))

    assert call.first_samples(2) is call


def test_rows_of_folded_steps_are_no_samples():
    """Of (N, T2, T, D) a layer inside TimeDistributed reads N·T2 rows."""
    rnn, dense = make_network(T=5, D=2, M=4, K=1).layers
    fold = Layer("fold", "FoldTime", (Tensor("inputs"),), dtype="float32")
    rnn = replace(rnn, inputs=(Tensor("fold"),))
    network = Network("folded", (InputSpec("inputs", (3, 5, 2), "float32"),), (fold, rnn, dense), (Tensor("dense"),))
    (call,) = observe(network, emulate(network, [make_inputs(network, 6)]))

    assert not network.parts_by_sample
    assert call.first_samples(2) is call


MERGES = ["concat", "sum", "mul", "ave"]


@pytest.fixture(params=MERGES)
def merged(request):
    """A bidirectional layer whose halves are merged, and one run of it."""
    network = make_bidirectional(T=6, D=2, M=4, merge_mode=request.param)
    return network, emulate(network, [make_inputs(network, 5)])


def test_merge_of_two_directions_matches(merged):
    rows, notes = check(*merged)

    assert {row.verdict for row in rows} == {Verdict.MATCH}
    assert notes == ()


def test_number_that_is_off_behind_a_merge_is_found_where_it_is(merged):
    network, (recording,) = merged
    first, *others = recording.outputs
    first = first.copy()
    first[3, 4, 1] += 1e-4

    rows, _ = check(network, [replace(recording, outputs=(first, *others))])

    failed = [row for row in rows if row.verdict is Verdict.MISMATCH]
    assert failed[0].layer == "both"
    assert all(row.first == {"n": 3, "t": 4, "unit": 1} for row in failed)


def a_flatten():
    """A network that copies."""
    layer = Layer("flat", "Flatten", (Tensor("x"),), {"data_format": "channels_last"})
    return Network("flat", (InputSpec("x", (5, 2), "float32"),), (layer,), (Tensor("flat"),))


def test_copy_that_is_stored_coarsely_may_be_off_by_half_a_unit():
    network = a_flatten()
    (x,) = make_inputs(network, 30)
    stored = np.round(x.astype(np.float64), 3).reshape(30, 10)

    right = rnncheck.compare(network, x, stored)
    stored[4, 7] += 0.002
    wrong = rnncheck.compare(network, x, stored)

    assert (right.verdict, wrong.verdict) == (Verdict.MATCH, Verdict.MISMATCH)
    assert wrong.rows[0].first == {"n": 4, "unit": 7}


def test_another_run_of_what_copies_must_give_the_same_numbers():
    network = a_flatten()
    (recording,) = emulate(network, [make_inputs(network, 3)])

    def verdict_of(outputs):
        rows, _ = check(network, [recording], related=[Related("again", [[outputs]])])
        return next(row.verdict for row in rows if row.check == "again")

    assert verdict_of(recording.outputs[0]) is Verdict.MATCH
    assert verdict_of(np.nextafter(recording.outputs[0], np.float32(9.0))) is Verdict.MISMATCH


def test_another_run_of_another_form_is_an_error():
    network = make_network(T=5, D=2, M=4, K=1)
    recordings = emulate(network, [make_inputs(network, 3)] * 2)
    outputs = [each.outputs for each in recordings]

    rows, notes = check(network, recordings, related=[
        Related("same", outputs),
        Related("other", [outputs[0], [outputs[1][0][:2]]]),
        Related("failed", error="ValueError: no"),
        Related("left_out", not_applicable="there is nothing to do"),
    ])  # fmt: skip

    found = {str(row.check): (row.verdict, row.detail) for row in rows}
    assert found["same"] == (Verdict.MATCH, "")
    assert found["other"] == (
        Verdict.ERROR, "got outputs of shapes [(2, 1)]; expected [(3, 1)], as in the plain run"
    )  # fmt: skip
    assert found["failed"] == (Verdict.ERROR, "ValueError: no")
    assert "left_out" not in found
    assert notes == ("`left_out` was not tried: there is nothing to do",)


def test_layers_that_copy_lean_nowhere():
    network = a_flatten()
    recordings = emulate(network, [make_inputs(network, 3)])

    (sizes,) = lined_up(network, recordings, slice(None))

    assert not sizes[0].any()


@pytest.mark.parametrize("name", ["tf32", "bfloat16_products"])
def test_plain_replay_in_a_format_of_products_is_that_of_the_network(name):
    network = make_network(T=5, D=2, M=4, K=1, kind="GRU")
    inputs = make_inputs(network, 3)

    np.testing.assert_array_equal(
        replay(FORMATS[name].change(network), inputs).outputs[0], replay(network, inputs).outputs[0]
    )


@pytest.mark.parametrize("name", ["tf32", "bfloat16_products"])
def test_errors_of_coarse_products_grow_in_units_of_these(name):
    """In units of float32's, they would seem amplified thousands of times from the first step on."""
    network = make_network(T=5, D=2, M=4, K=None, kind="GRU")
    inputs = make_inputs(network, 3)

    any_way, usual = (
        replay(change(network), inputs, arithmetic=FREE_RUNNING).growths
        for change in (FORMATS[name].change, FORMATS[name].usual)
    )

    assert ((any_way > 0.1) & (any_way < 20.0)).all()
    # Where the factors are the program's own, what is left is the noise of float32.
    assert ((usual > 1e-7) & (usual < 1.0)).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_place_names_the_call_where_there_are_several(count):
    network = make_network(T=5, D=2, M=4, K=1)
    recordings = list(emulate(network, [make_inputs(network, 3, seed) for seed in range(count)]))
    wrong = recordings[-1].outputs[0].copy()
    wrong[2] += 1.0
    recordings[-1] = Recording(recordings[-1].inputs, (wrong,))
    recordings[:-1] = [Recording(each.inputs, each.outputs) for each in recordings[:-1]]

    (row,), _ = check(network, recordings)

    assert row.first == ({"n": 2, "unit": 0} if count == 1 else {"call": count - 1, "n": 2, "unit": 0})


@pytest.mark.parametrize("what", ["recorded", "across_samples"])
def test_states_that_change_where_nobody_sees_it_are_not_followed(what):
    network = make_network(kind="LSTM", T=5, D=2, M=4, K=None, return_sequences=True)
    recordings = emulate(network, [make_inputs(network, 3)])
    hidden = [
        each.network
        for each in injections(network, FAULTS)
        if each.fault.group in {"recording", "batch"} and getattr(cell_of(each.network.layer("rnn")).loop, what)
    ]

    assert hidden
    for each in hidden:
        assert observe(each, recordings)[0].steps(each.layer("rnn")) is None


@pytest.mark.parametrize(("name", "digits"), [("tf32", 11), ("bfloat16_products", 8)])
def test_noise_of_coarse_products_is_that_of_both_factors(name, digits):
    """A factor that is off by anything within ±size has the variance size²/3; float32's own is far below."""
    x, kernel = np.float32(5.0), np.float32(3.0)
    dense = Layer(
        "dense", "Dense", (Tensor("x"),), {"activation": Activation("linear")}, {"kernel": kernel.reshape(1, 1)}
    )
    network = Network("one", (InputSpec("x", (1,), "float32"),), (dense,), (Tensor("dense"),))
    coarse = in_format(network, name)
    recording = Recording((x.reshape(1, 1),), (np.float32([[15.0]]),))

    (found,) = differences(coarse.layers[0], observe(coarse, [recording]))

    size = 2.0**-digits * 15.0
    assert found.noise.item() == pytest.approx(np.sqrt(2.0 * size**2 / 3.0), rel=1e-3)
