"""Verdicts that were wrong once, end to end: float32 loops written here, held against the equations."""

import numpy as np
import pytest
from reference import make_dense, make_recurrent

import rnncheck
from rnncheck import InputSpec, Network, Tensor, Verdict
from rnncheck.equations.changes import with_layer, with_weights

F = np.float32
ACTIVATIONS = {"linear": lambda z: z, "relu": lambda z: np.maximum(z, F(0)), "tanh": np.tanh}


def blas(a, w):
    return a @ w


def in_order(a, w):
    total = np.zeros((len(a), w.shape[1]), F)
    for k in range(w.shape[0]):
        total = total + a[:, k : k + 1] * w[k]
    return total


def simple_rnn(weights, x, activation="tanh", product=blas):
    """Every state, (N, T, M), of an ordinary implementation in float32."""
    w = {name: weight.astype(F) for name, weight in weights.items()}
    h, states = np.zeros((len(x), len(w["recurrent_kernel"])), F), []
    with np.errstate(all="ignore"):
        for x_t in np.moveaxis(x, 1, 0):
            z = product(np.ascontiguousarray(x_t), w["kernel"]) + product(h, w["recurrent_kernel"])
            h = ACTIVATIONS[activation](z + w["bias"] if "bias" in w else z)
            states.append(h)
    return np.stack(states, axis=1)


def network_of(T, D, M, *, activation="tanh", K=None, **weights):
    """A SimpleRNN, and a Dense if K is given, with some weights of its own."""
    rng = np.random.default_rng(0)
    layers = [make_recurrent("rnn", rng, D=D, M=M, source="x", activation=activation)]
    if K:
        layers.append(make_dense("dense", rng, D=M, K=K, source="rnn", use_bias=False))
    network = Network("net", (InputSpec("x", (T, D), "float32"),), tuple(layers), (Tensor(layers[-1].name),))
    for layer in layers:
        own = {name: weights[f"{layer.name}_{name}"] for name in layer.weights if f"{layer.name}_{name}" in weights}
        network = with_layer(network, with_weights(layer, **own)) if own else network
    return network


@pytest.mark.few(3)
@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("order", [blas, in_order])
@pytest.mark.parametrize("scale", [3.0, 10.0])
@pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])
def test_correct_run_that_overflows_is_no_mismatch(activation, order, scale, states):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        recurrent = np.linalg.qr(rng.normal(size=(8, 8)))[0] * scale
        network = network_of(300, 3, 8, activation=activation, rnn_recurrent_kernel=recurrent.astype(F))
        x = (rng.normal(size=(2, 300, 3)) * 10).astype(F)
        h = simple_rnn(network.layers[0].weights, x, activation, order)
        assert not np.isfinite(h).all()

        report = rnncheck.compare(network, x, h[:, -1], states={"rnn": h} if states else None)

        assert report.verdict is not Verdict.MISMATCH


@pytest.mark.parametrize("large", [3e9, 1e12, 1e20])
def test_wrong_number_under_the_noise_does_not_hide_behind_a_large_sample(large):
    eye, ones, zeros = np.eye(2), np.ones((2, 1)), np.zeros((2, 2))
    weights = {"rnn_kernel": eye, "rnn_recurrent_kernel": zeros, "rnn_bias": zeros[0], "dense_kernel": ones}
    network = network_of(3, 2, 2, activation="linear", K=1, **weights)
    x = np.zeros((4, 3, 2), F)
    x[:] = np.array([[large, large], [1e8, -1e8 + 7], [1, 2], [3, 4]], F)[:, np.newaxis]
    y = simple_rnn(network.layers[0].weights, x, "linear")[:, -1] @ np.ones((2, 1), F)
    y[1] += 40

    together, alone = rnncheck.compare(network, x, y), rnncheck.compare(network, x[1:2], y[1:2])

    assert together.verdict is alone.verdict is Verdict.UNDECIDABLE
    (row,) = together.entries[0].rows
    assert row.unjudged == 1


@pytest.mark.few(4)
@pytest.mark.parametrize("bias", [0.0, -100.0], ids=["no weight", "dead relu"])
@pytest.mark.parametrize(
    ("off", "verdict"), [(0.0, "match"), (1e-30, "mismatch"), (1e-3, "mismatch"), (1.0, "mismatch")]
)
def test_where_zero_is_expected_only_zero_matches(bias, off, verdict):
    weights = {} if bias else {"rnn_kernel": np.zeros((3, 8)), "rnn_recurrent_kernel": np.zeros((8, 8))}
    network = network_of(12, 3, 8, activation="relu", rnn_bias=np.full(8, bias), **weights)
    x = np.random.default_rng(1).normal(size=(6, 12, 3)).astype(F)

    report = rnncheck.compare(network, x, np.full((6, 8), off, F))

    assert report.verdict == verdict


@pytest.mark.few(3)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("weight", "outlier"), [(0.0, 1e6), (1e-6, 1e6), (1e-3, 1e3)])
def test_outlier_makes_no_other_number_wrong_and_hides_none(activation, weight, outlier):
    """In a feature that hardly counts, of a layer of 20,000 rows, which is looked at without bounds first."""
    rng = np.random.default_rng(0)
    kernel = (rng.normal(size=(8, 2)) / np.sqrt(8)).astype(F)
    kernel[0] = weight
    layer = make_dense("dense", rng, D=8, K=2, source="x", activation=activation)
    layer = with_weights(layer, kernel=kernel)
    network = Network("net", (InputSpec("x", (8,), "float32"),), (layer,), (Tensor("dense"),))
    x = rng.normal(size=(20_000, 8)).astype(F)
    x[7, 0] = outlier
    y = ACTIVATIONS[activation](x @ kernel + layer.weights["bias"].astype(F))
    wrong = y.copy()
    wrong[11] += 1e-5

    assert rnncheck.compare(network, x, y).verdict is Verdict.MATCH
    report = rnncheck.compare(network, x, wrong)

    assert report.verdict is Verdict.MISMATCH
    assert report.entries[0].rows[0].first["n"] == 11


@pytest.mark.parametrize("samples", [100, pytest.param(400, marks=pytest.mark.long)])
def test_wrong_step_at_the_peak_of_a_heavy_tailed_feature_is_seen(samples):
    rng = np.random.default_rng(0)
    T, D, M = 40, 10, 16
    kernel = (rng.normal(size=(D, M)) / np.sqrt(D)).astype(F)
    kernel[0] *= F(1e-4)
    recurrent = (np.linalg.qr(rng.normal(size=(M, M)))[0] * 0.5).astype(F)
    network = network_of(T, D, M, rnn_kernel=kernel, rnn_recurrent_kernel=recurrent)
    x = rng.normal(size=(samples, T, D)).astype(F)
    x[:, :, 0] = np.exp(2 * rng.normal(size=(samples, T)))
    n, t = np.unravel_index(np.argmax(x[:, :, 0]), (samples, T))
    h = simple_rnn(network.layers[0].weights, x)
    wrong = h.copy()
    wrong[n, t] += F(1e-5) * (np.abs(h[n, t]) < 0.8)

    assert rnncheck.compare(network, x, h[:, -1], states={"rnn": h}).verdict is Verdict.MATCH
    report = rnncheck.compare(network, x, wrong[:, -1], states={"rnn": wrong})

    assert report.verdict is Verdict.MISMATCH
    assert report.entries[0].rows[0].first.items() >= {"n": n, "t": t}.items()
