"""Bounds left out: every number has the score that it has with them, over adversarial blocks of every size.

Rows and weights are scaled from 1e-10 to 1e10, features are heavy-tailed or dead, and samples have outliers at
earlier steps; the shortcut is forced on blocks of all sizes.
"""

import numpy as np
import pytest
from reference import make_network, replaced

from rnncheck.checks import steps
from rnncheck.checks.expected import checked_in
from rnncheck.checks.observed import observe
from rnncheck.checks.scores import Comparison
from rnncheck.checks.steps import Looks, step_rows
from rnncheck.checks.thresholds import SUSPICIOUS
from rnncheck.faults.emulation import emulate
from rnncheck.network import Recording, Tensor

OPTIONS = {
    "SimpleRNN": ({}, {"activation": "relu"}, {"activation": "linear"}, {"activation": "softsign"}, {"mask": True}),
    "LSTM": ({}, {"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}, {"mask": True}),
    "GRU": ({}, {"reset_after": False}, {"activation": "relu"}, {"recurrent_activation": "tanh"}),
    "Dense": ({}, {"dense_activation": "relu"}, {"dense_activation": "tanh"}, {"dense_activation": "sigmoid"}),
}


@pytest.fixture(autouse=True)
def without_bounds_at_every_size(monkeypatch):
    monkeypatch.setattr(steps, "FEW", 0)
    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", 96)  # several blocks, which hand a memory on


def adversarial(kind, seed):
    """A network and a run of it that differs from the equations by about what rounding may do."""
    rng = np.random.default_rng((seed, 7))
    N, T, D, M = (int(rng.integers(1, most)) for most in (5, 7, 9, 6))
    options = OPTIONS[kind][seed % len(OPTIONS[kind])]
    dense = kind == "Dense"
    recurrent = {"kind": "SimpleRNN", "K": 3, "return_sequences": True} if dense else {"kind": kind, "K": None}
    network = make_network(T=T, D=D, M=M, seed=seed, dtype="float32", **recurrent, **options)
    name = "dense" if dense else "rnn"
    weights = {key: weight * 10.0 ** rng.uniform(*scales(rng)) for key, weight in network.layer(name).weights.items()}
    kernel = weights["kernel"]
    kernel *= 10.0 ** rng.uniform(*scales(rng), (len(kernel), 1))
    kernel[rng.random(len(kernel)) < 0.2] = 0.0
    network = replaced(network, name, **weights)
    x = np.exp(rng.uniform(0.0, 3.0) * rng.normal(size=(N, T, D))) * rng.choice([-1.0, 1.0], (N, T, D))
    x *= 10.0 ** rng.uniform(*scales(rng), (N, 1, 1))
    x[0, 0, 0] *= 10.0 ** rng.uniform(0.0, 10.0)
    inputs = (x.astype(np.float32), *(rng.random((N, T)) > 0.3 for _ in network.inputs[1:]))
    with np.errstate(all="ignore"):
        (recording,) = emulate(network, [inputs])
        return network.layer(name), network, disturbed(recording, rng)


def scales(rng):
    return [(0.0, 0.0), (-1.0, 1.0), (-10.0, 10.0)][rng.integers(3)]


def disturbed(recording, rng):
    def off(array):
        errors = 6e-8 * rng.normal(size=array.shape) * (rng.random(array.shape) < 0.7)
        return (array * (1.0 + errors)).astype(array.dtype)

    states = {name: off(h) for name, h in recording.states.items()}
    tensors = {Tensor(name): h for name, h in states.items()}
    outputs = tuple(map(off, recording.outputs))
    return Recording(recording.inputs, outputs, states, {**recording.tensors, **tensors})


def both_scores(layer, call):
    """The scores of every number without bounds and with them, and which rows have theirs computed anew."""
    (checked,) = checked_in(layer, [call])
    looks = Looks.at(layer, [checked])
    assert looks.first is not looks.careful
    for strand in checked.strands():
        memories = {}
        for block in strand:
            found = {}
            for look in (looks.first, looks.careful):
                piece, memories[look] = checked.piece(block, look, memories.get(look))
                found[look] = Comparison(piece.actual, piece.expected)
            again = np.zeros(len(found[looks.first]), bool)
            again[found[looks.first].suspicious_rows(SUSPICIOUS)] = True
            yield *(np.sqrt(each.squared_scores) for each in found.values()), again


@pytest.mark.parametrize("blocks", [100, pytest.param(500, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", OPTIONS)
def test_every_number_has_the_score_that_it_has_with_bounds(kind, blocks):
    compared = computed_anew = 0
    for seed in range(blocks):
        layer, network, recording = adversarial(kind, seed)
        with np.errstate(all="ignore"):
            (call,) = observe(network, [recording])
            for without, full, again in both_scores(layer, call):
                np.testing.assert_allclose(
                    without[~again], full[~again], rtol=0.01, atol=1e-6, err_msg=f"seed {seed}"
                )
                compared, computed_anew = compared + len(again), computed_anew + again.sum()
    assert computed_anew < 0.5 * compared


@pytest.mark.parametrize("blocks", [50, pytest.param(150, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", OPTIONS)
def test_rows_say_what_they_say_with_bounds(kind, blocks, monkeypatch):
    for seed in range(blocks):
        layer, network, recording = adversarial(kind, seed)
        calls = observe(network, [recording])
        found = []
        for few in (0, 2**14):
            monkeypatch.setattr(steps, "FEW", few)
            found.append(step_rows(network, calls, layers=[layer]))
        for without, full in zip(*found, strict=True):
            assert (without.verdict, without.proven) == (full.verdict, full.proven), f"seed {seed}"
            assert without.first == full.first, f"seed {seed}"
            for name in ("score_max", "score_rms", "noise", "max_abs_diff"):
                assert getattr(without, name) == pytest.approx(getattr(full, name), rel=0.01, abs=1e-12), (
                    f"seed {seed}"
                )


@pytest.mark.parametrize("options", [{}, {"mask": True}])
def test_unit_that_is_looked_at_alone_has_the_bound_that_it_has_among_all(options):
    rng = np.random.default_rng(3)
    network = make_network(kind="LSTM", T=6, D=3, M=4, K=None, dtype="float32", **options)
    inputs = (rng.normal(size=(5, 6, 3)).astype(np.float32), *(rng.random((5, 6)) > 0.3 for _ in network.inputs[1:]))
    (recording,) = emulate(network, [inputs])
    layer = network.layer("rnn")
    (call,) = observe(network, [disturbed(recording, rng)])
    (checked,) = checked_in(layer, [call])
    (strand,) = checked.strands()
    assert checked.by_unit
    assert len(strand) > 1
    memories = [None] * 5
    for block in strand:
        piece, memories[-1] = checked.piece(block, Looks.with_bounds(layer).first, memories[-1])
        for unit in range(4):
            alone = checked.only(unit)
            seen, memories[unit] = alone.piece(block, Looks.with_bounds(alone.layer).first, memories[unit])
            np.testing.assert_array_equal(seen.actual[:, 0], piece.actual[:, unit])
            for name in ("value", "noise", "bound"):
                expected = getattr(piece.expected, name)[:, unit]
                np.testing.assert_allclose(getattr(seen.expected, name)[:, 0], expected, rtol=1e-12, atol=0.0)


def test_softmax_over_the_units_keeps_them_together():
    network = make_network(kind="LSTM", T=6, D=3, M=4, K=None, activation="softmax")
    (call,) = observe(network, emulate(network, [(np.ones((2, 6, 3)),)]))

    (checked,) = checked_in(network.layer("rnn"), [call])
    assert not checked.by_unit
