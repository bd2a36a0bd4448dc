"""What the checks see of a run: NaN in it, its first samples, and what lies between two layers."""

from dataclasses import replace

import numpy as np
import pytest
from reference import make_bidirectional, make_inputs, make_network

from rnncheck.checks.check import check
from rnncheck.checks.observed import disagreements, observe
from rnncheck.checks.verdicts import Verdict
from rnncheck.faults.emulation import emulate
from rnncheck.network import InputSpec, Layer, Network, Tensor


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
