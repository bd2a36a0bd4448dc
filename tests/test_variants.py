"""Networks that run at once, beside each of them alone."""

from dataclasses import replace

import numpy as np
import pytest
from reference import CELLS, make_bidirectional, make_dense, make_inputs, make_network

from rnncheck.checks.end_to_end import end_to_end_rows
from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import injections
from rnncheck.faults.emulation import emulate
from rnncheck.faults.trial import shows, which_show
from rnncheck.faults.variants import Stacked, in_variants, rows_of_variants
from rnncheck.network import Recording, Tensor

N, T, D, M, K = 3, 5, 2, 4, 3
SIZES = {"T": T, "D": D, "M": M}


def on_sequences():
    """A recurrent layer, a second one on its sequence, and Dense at every step."""
    network = make_network(**SIZES, K=None, kind="GRU", return_sequences=True)
    second = make_network(T=T, D=M, M=M, K=None, kind="SimpleRNN", return_sequences=True, seed=1).layers[0]
    second = replace(second, name="second", inputs=(Tensor("rnn"),))
    head = make_dense("dense", np.random.default_rng(2), D=M, K=K, source="second", activation="tanh")
    return replace(network, layers=(*network.layers, second, head), outputs=(Tensor("dense"), Tensor("second")))


NETWORKS = {
    **{name: make_network(**SIZES, K=K, **options) for name, options in CELLS.items() if "conv" not in name},
    "masked": make_network(**SIZES, K=K, kind="LSTM", mask=True, initial_state=True, return_state=True),
    "float16": make_network(**SIZES, K=K, kind="GRU", dtype="float16"),
    "stateful": make_network(**SIZES, K=K, kind="LSTM", stateful=True),
    "both directions": make_bidirectional(**SIZES, merge_mode="concat", return_sequences=False),
    "on sequences": on_sequences(),
}  # fmt: skip
over_networks = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def outputs_alone(network, calls=2):
    """The run of a network of which nobody saw a state."""
    inputs = [make_inputs(network, N, seed=seed) for seed in range(calls if network.stateful else 1)]
    return [Recording(each.inputs, each.outputs) for each in emulate(network, inputs)]


def faulty(network):
    return [injection.network for injection in injections(network, FAULTS)]


# --- what runs at once ---


@pytest.mark.few(4)
@over_networks
def test_rows_are_those_of_each_network_alone(network):
    recordings, wrongs = outputs_alone(network), faulty(network)
    compared = 0

    for places, variants in in_variants(network, wrongs, N):
        for place, rows in zip(places, rows_of_variants(network, recordings, variants), strict=True):
            for row, alone in zip(rows, end_to_end_rows(wrongs[place], recordings), strict=True):
                numbers = ("max_abs_diff", "noise", "score_max", "score_rms")
                np.testing.assert_allclose(
                    [getattr(row, name) for name in numbers], [getattr(alone, name) for name in numbers], rtol=1e-6
                )
                assert (row.verdict, row.shape, row.layer) == (alone.verdict, alone.shape, alone.layer)
                assert (row.worst, row.decides, row.unjudged) == (alone.worst, alone.decides, alone.unjudged)
                compared += 1

    assert compared > 20


@pytest.mark.few(3)
@over_networks
def test_what_shows_is_what_shows_alone(network):
    recordings, wrongs = outputs_alone(network), faulty(network)

    shown = which_show(wrongs, network, recordings)

    assert shown == [shows(wrong, network, recordings) for wrong in wrongs]
    assert {True, False} == set(shown)


def test_growth_is_each_networks_own():
    """Errors that one network amplifies beyond what can be told say nothing about another one."""
    network = make_network(T=60, D=D, M=8, K=K)
    rnn = network.layer("rnn")
    wild = with_layer(network, with_weights(rnn, recurrent_kernel=4.0 * rnn.weights["recurrent_kernel"]))
    late = with_layer(network, with_weights(rnn, bias=rnn.weights["bias"] + np.float32(0.1)))
    recordings = outputs_alone(network)

    ((places, variants),) = in_variants(network, [wild, late], N)

    assert places == [0, 1]
    of_wild, of_late = (rows[0].unjudged for rows in rows_of_variants(network, recordings, variants))
    assert 0 < of_wild < N * K  # some samples saturate, so that nothing grows in them
    assert of_late == 0


# --- what does not ---


def test_more_networks_than_fit_run_in_turns():
    network = make_network(T=T, D=D, M=32, K=K)
    wrongs = faulty(network)

    runs = [variants.runs for _, variants in in_variants(network, wrongs, 16)]

    assert max(runs) == 8
    assert sum(runs) == len({place for places, _ in in_variants(network, wrongs, 16) for place in places}) > 16


@pytest.mark.parametrize(
    ("network", "samples"),
    [
        (make_network(**SIZES, K=None, kind="ConvLSTM1D"), N),
        (make_network(**SIZES, K=K), 1000),
    ],
    ids=["convolution", "many samples"],
)
def test_networks_that_run_alone(network, samples):
    assert list(in_variants(network, faulty(network), samples)) == []


def test_another_shape_option_or_layer_is_no_variant():
    network = make_network(**SIZES, K=K, kind="LSTM")
    rnn = network.layer("rnn")
    others = [
        with_layer(
            network, replace(rnn, weights={name: rnn.weights[name] for name in ("kernel", "recurrent_kernel")})
        ),
        with_layer(network, replace(rnn, options={**rnn.options, "go_backwards": True})),
        with_layer(network, replace(rnn, dtype="float16")),
        with_layer(
            with_layer(network, with_weights(rnn, bias=2 * rnn.weights["bias"])), replace(network.layer("dense"))
        ),
        replace(network, outputs=(Tensor("rnn"),)),
        network,
    ]

    assert list(in_variants(network, others, N)) == []


# --- stacked weights ---


@pytest.mark.parametrize("samples", [2, None])
def test_stacked_weights_serve_each_row_by_its_network(rng, samples):
    steps, networks, n, units = 4, 3, 5, 6
    matrices, vectors = rng.normal(size=(networks, n, units)), rng.normal(size=(networks, units))
    per_network = samples or 8
    of_row = [f for _ in range(steps if samples else 1) for f in range(networks) for _ in range(per_network)]
    rows = rng.normal(size=(len(of_row), n))

    product = rows @ Stacked(matrices, samples)
    squared = rows @ np.square(Stacked(matrices, samples))[:, 1:3]
    placed = Stacked(vectors, samples).for_rows(len(rows))

    np.testing.assert_allclose(product, [row @ matrices[f] for row, f in zip(rows, of_row, strict=True)], rtol=1e-13)
    np.testing.assert_allclose(
        squared, [row @ matrices[f, :, 1:3] ** 2 for row, f in zip(rows, of_row, strict=True)], rtol=1e-13
    )
    assert np.array_equal(placed, vectors[of_row])
    assert Stacked(matrices, samples).shape == (n, units)
