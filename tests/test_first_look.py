"""What the first look at a block must not hide, and must not call wrong: one bad row, tiny numbers, zero bounds."""

import numpy as np
import pytest
from reference import make_inputs, make_network, replaced

from rnncheck.checks.observed import observe
from rnncheck.checks.steps import step_rows
from rnncheck.checks.verdicts import Verdict
from rnncheck.equations.replay import replay
from rnncheck.network import Recording, Tensor

N, T = 16, 6


def network_of(kind, **options):
    if kind == "GRU":
        options = {"reset_after": False, **options}
    return make_network(T=T, D=3, M=4, K=None, kind=kind, return_sequences=True, **options)


def record(network, inputs):
    """What an implementation shows that computes exactly and rounds once to float32."""
    with np.errstate(all="ignore"):
        (h, *_) = replay(network, inputs).outputs
    h = h.astype(np.float32)
    return Recording(inputs, (h,), {"rnn": h})


def altered(recording, amount, *, n=7, t=4, unit=2):
    h = recording.states["rnn"].copy()
    h[n, t, unit] += np.float32(amount)
    return Recording(recording.inputs, (h,), {"rnn": h})


def h_row(network, recording):
    (row,) = (row for row in step_rows(network, observe(network, [recording])) if row.output == "h")
    return row


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("masked", [False, True], ids=["counted", "masked"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
@pytest.mark.parametrize("few", [0, 2**14], ids=["without bounds", "with bounds"])
def test_one_bad_row_hides_no_fault_in_the_others(monkeypatch, kind, masked, bad, few):
    monkeypatch.setattr("rnncheck.checks.steps.FEW", few)
    network = network_of(kind, mask=masked)
    x, *masks = make_inputs(network, N)
    x[3, 0] = bad
    for mask in masks:
        mask[:], mask[3, 0] = True, False
    right = record(network, (x, *masks))

    unknown = kind == "SimpleRNN" and bad == np.inf and not masked  # tanh(inf) = 1 is finite, its noise is not
    assert h_row(network, right).verdict is (Verdict.UNDECIDABLE if unknown else Verdict.MATCH)
    row = h_row(network, altered(right, 0.1))

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"n": 7, "t": 4, "unit": 2}
    assert list(row.first) == ["n", "t", "unit"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("scale", [1e-8, 1e-12])
@pytest.mark.parametrize("few", [0, 2**14], ids=["without bounds", "with bounds"])
def test_tiny_numbers_keep_their_noise_over_the_steps(monkeypatch, kind, scale, few):
    monkeypatch.setattr("rnncheck.checks.steps.FEW", few)
    network = network_of(kind, use_bias=False)
    (x,) = make_inputs(network, N)
    right = record(network, (x * np.float32(scale),))

    row = h_row(network, right)

    assert row.verdict is Verdict.MATCH
    assert h_row(network, altered(right, 1e-4 * scale)).first == {"n": 7, "t": 4, "unit": 2}


@pytest.mark.parametrize("wrong", [1e-30, 1e-3, np.nan])
@pytest.mark.parametrize("few", [0, 2**14], ids=["without bounds", "with bounds"])
def test_any_difference_from_what_is_exact_is_proven(monkeypatch, wrong, few):
    monkeypatch.setattr("rnncheck.checks.steps.FEW", few)
    network = replaced(network_of("SimpleRNN", activation="relu"), "rnn", bias=np.full(4, -50.0))
    (x,) = make_inputs(network, N)
    right = record(network, (x,))
    assert not right.states["rnn"].any()
    assert h_row(network, right).verdict is Verdict.MATCH

    row = h_row(network, altered(right, wrong))

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"n": 7, "t": 4, "unit": 2}


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM"])
@pytest.mark.parametrize("few", [0, 2**14], ids=["without bounds", "with bounds"])
def test_every_number_is_compared_in_the_windows_of_a_block(monkeypatch, kind, few):
    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", 64)
    monkeypatch.setattr("rnncheck.checks.steps.FEW", few)
    network = network_of(kind)
    right = record(network, make_inputs(network, N))

    assert h_row(network, right).verdict is Verdict.MATCH
    for n, t, unit in np.ndindex(N, T, 4):
        if unit == (n + t) % 4:
            assert h_row(network, altered(right, 0.1, n=n, t=t, unit=unit)).first == {"n": n, "t": t, "unit": unit}


def test_noise_that_a_product_inherits_stays_in_the_sum():
    """GRU without reset_after multiplies (r*h) by a kernel; r is as inexact as a sigmoid may be."""
    network = network_of("GRU")
    (x,) = make_inputs(network, 200)

    row = h_row(network, record(network, (x,)))

    assert row.verdict is Verdict.MATCH
    assert row.score_rms < 0.6


@pytest.mark.parametrize(("argument", "verdict"), [(12.0, Verdict.UNDECIDABLE), (2.0, Verdict.MISMATCH)])
def test_infinity_may_be_right_where_something_on_the_way_overflows(argument, verdict):
    """In float16 exp(12) is infinite, and so is (1 - z)*g of GRU, however close to 1 z is; exp(2) is not."""
    network = make_network(
        T=1, D=3, M=4, K=None, kind="GRU", return_sequences=True, activation="exponential", dtype="float16"
    )
    bias = np.zeros((2, 12))
    bias[0, :4], bias[0, 8:] = 20.0, argument
    network = replaced(network, "rnn", kernel=np.zeros((3, 12)), recurrent_kernel=np.zeros((4, 12)), bias=bias)
    inputs = make_inputs(network, 2)
    assert np.isfinite(replay(network, inputs).outputs[0]).all()
    infinite = np.full((2, 1, 4), np.inf, np.float16)

    row = h_row(network, Recording(inputs, (infinite,), {"rnn": infinite}))

    assert row.verdict is verdict
    assert row.proven == (verdict is Verdict.MISMATCH)


def test_final_memory_of_tiny_numbers_is_judged_by_its_noise():
    network = make_network(
        T=T, D=3, M=4, K=None, kind="LSTM", return_sequences=True, return_state=True, use_bias=False
    )
    (x,) = make_inputs(network, N)
    x = x * np.float32(1e-8)
    h, last, c = (each.astype(np.float32) for each in replay(network, (x,)).outputs)
    recording = Recording((x,), (h, last, c), {"rnn": h}, {Tensor("rnn", 2): c})
    wrong = Recording((x,), (h, last, c * np.float32(1.001)), {"rnn": h}, {Tensor("rnn", 2): c * np.float32(1.001)})

    rows, wrong_rows = (
        {row.output: row.verdict for row in step_rows(network, observe(network, [each]))}
        for each in (recording, wrong)
    )

    assert rows["c"] is Verdict.MATCH
    assert wrong_rows["c"] is Verdict.MISMATCH
    assert wrong_rows["h"] is Verdict.MATCH


def test_noise_that_adds_up_to_more_than_single_precision_holds_is_no_reason_to_be_undecided(monkeypatch):
    monkeypatch.setattr("rnncheck.checks.steps.FEW", 0)
    network = network_of("SimpleRNN", activation="linear", use_bias=False)
    (x,) = make_inputs(network, 64)
    right = record(network, (x * np.float32(3e25),))

    row = h_row(network, right)

    assert row.verdict is Verdict.MATCH
    assert row.noise**2 * right.states["rnn"].size > float(np.finfo(np.float32).max)


def outlier_in_a_dead_feature(kind, step, **options):
    """A run in which one sample's unused feature is large at some step."""
    network = network_of(kind, **options)
    kernel = network.layer("rnn").weights["kernel"].copy()
    kernel[0] = 0.0
    network = replaced(network, "rnn", kernel=kernel)
    (x,) = make_inputs(network, N)
    x[7, step, 0] = 1e6
    return network, record(network, (x,))


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("step", [0, 4], ids=["earlier step", "same step"])
def test_fault_beside_an_outlier_is_seen_and_correct_numbers_are_not_blamed(monkeypatch, kind, step):
    monkeypatch.setattr("rnncheck.checks.steps.FEW", 0)
    network, right = outlier_in_a_dead_feature(kind, step)

    assert h_row(network, right).verdict is Verdict.MATCH
    row = h_row(network, altered(right, 3e-5))

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"n": 7, "t": 4, "unit": 2}
    assert row.proven


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_table_says_how_much_of_its_bound_the_worst_number_used(monkeypatch, kind):
    network = network_of(kind)
    right = record(network, make_inputs(network, N))
    careful = h_row(network, right)

    monkeypatch.setattr("rnncheck.checks.steps.FEW", 0)
    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", 64)
    row = h_row(network, right)

    assert row.worst == careful.worst
    assert 0.0 < row.bound_use <= careful.bound_use < 1.0
