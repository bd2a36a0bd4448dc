"""Whole runs whose roundings line up: correct code is never wrong, whatever the order of its terms."""

import numpy as np
import pytest
from reference import make_network, replaced

import rnncheck
from rnncheck import Verdict
from rnncheck.checks.lining_up import lined_up
from rnncheck.network import Recording

T, D = 1000, 3


def network(kernel, recurrent, bias, activation, t_steps=T):
    made = make_network(T=t_steps, D=D, M=len(recurrent), K=None, activation=activation)
    return replaced(made, "rnn", kernel=kernel, recurrent_kernel=recurrent, bias=bias)


def identity(rng):
    return np.eye(8, dtype=np.float32)


def leaky(rng):
    return np.full((1, 1), 0.999, np.float32)


def orthogonal(rng):
    return np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)


def growing(rng):
    return orthogonal(rng) * np.float32(1.3)


# Which order the terms of a step are added in.
ORDERS = {
    "bias first": lambda x, h, b: (x + b) + h,
    "bias last": lambda x, h, b: (x + h) + b,
    "bias to the state": lambda x, h, b: x + (h + b),
}


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("order", "seeds"), [("bias last", 1), *(pytest.param(name, 5, marks=pytest.mark.long) for name in ORDERS)]
)
@pytest.mark.parametrize("recurrent", [identity, leaky, orthogonal, growing])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_correct_run_is_never_a_mismatch(recurrent, activation, order, seeds):
    function = {"relu": lambda h: np.maximum(h, np.float32(0.0)), "linear": lambda h: h}[activation]
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        u = recurrent(rng)
        kernel = (rng.normal(size=(D, len(u))) / np.sqrt(D)).astype(np.float32)
        bias = (0.1 * rng.normal(size=len(u))).astype(np.float32)
        x = rng.normal(size=(2, T, D)).astype(np.float32)
        h = np.zeros((2, len(u)), np.float32)
        with np.errstate(all="ignore"):
            for t in range(T):
                h = function(ORDERS[order](x[:, t] @ kernel, h @ u, bias))
        report = rnncheck.compare(network(kernel, u, bias, activation), x, h)
        found.append(report.verdict)

    assert set(found) <= {Verdict.MATCH, Verdict.UNDECIDABLE}
    if order == "bias first" and recurrent is not growing:
        assert set(found) == {Verdict.MATCH}


def contracting(rng):
    return orthogonal(rng) * np.float32(0.5)


@pytest.mark.parametrize("size", [pytest.param(1e-5, marks=pytest.mark.long), 1e-3])
@pytest.mark.parametrize("t_steps", [200, pytest.param(T, marks=pytest.mark.long)])
def test_wrong_run_is_still_a_mismatch(t_steps, size):
    """Where a network forgets, errors that line up are no larger than those that do not."""
    rng = np.random.default_rng(0)
    u = contracting(rng)
    kernel, bias = rng.normal(size=(D, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    x = rng.normal(size=(2, t_steps, D)).astype(np.float32)
    h = np.zeros((2, 8), np.float32)
    for t in range(t_steps):
        h = np.maximum(x[:, t] @ kernel + h @ u + bias, np.float32(0.0))

    h[1, 2] += np.float32(size)

    assert rnncheck.compare(network(kernel, u, bias, "relu", t_steps), x, h).verdict is Verdict.MISMATCH


def test_undecidable_row_says_that_errors_may_have_lined_up():
    """A memory that adds up its inputs: each step's rounding leans with the sign that the state has."""
    one = np.ones((1, 1), np.float32)
    net = network(np.zeros((D, 1), np.float32), one, np.full(1, 0.1, np.float32), "linear")
    x = np.zeros((1, T, D), np.float32)
    h = np.zeros((1, 1), np.float32)
    for _ in range(T):
        h = h * one + np.float32(0.1)

    (row,) = rnncheck.compare(net, x, h).entries[0].rows

    assert row.score_max > 8.0
    assert (row.verdict, row.first) == (Verdict.UNDECIDABLE, None)
    assert "errors all lean one way; record the states" in row.detail


def test_errors_that_line_up_in_a_sum_grow_with_the_square_of_its_length():
    """h_t = h_{t-1} + 1: each step leans by a few roundings of t, and all of them together by about u·t²/2."""
    net = network(np.zeros((D, 1), np.float32), np.ones((1, 1), np.float32), np.ones(1, np.float32), "linear")
    recording = Recording((np.zeros((1, T, D)),), (np.full((1, 1), float(T)),))

    (of_call,) = lined_up(net, [recording], slice(0, 1))

    of_one_rounding = 2.0**-24 / np.sqrt(3.0) * T**2 / 2.0
    assert of_one_rounding < of_call[0].item() < 2.0 * of_one_rounding
