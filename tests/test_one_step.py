"""The first wrong step in numbers is what the equations make of what the implementation had before it."""

from dataclasses import replace

import numpy as np
import pytest

import rnncheck
from rnncheck.checks.observed import observe
from rnncheck.checks.one_step import first_wrong_step
from rnncheck.checks.steps import step_rows
from rnncheck.faults.emulation import emulate

FOLDER = "fixtures/keras2/2.12.1"
N, T, STEP, UNIT = 3, 5, 3, 1


def recorded(name, calls=1):
    """A network, and a run of it in float32 with one wrong number."""
    network = rnncheck.extract(f"{FOLDER}/{name}.h5")
    rng = np.random.default_rng(0)
    shapes = [[T if size is None else size for size in spec.shape] for spec in network.inputs]
    inputs = [tuple(rng.normal(size=(N, *shape)).astype(np.float32) for shape in shapes) for _ in range(calls)]
    *right, last = emulate(network, inputs)
    layer = next(layer for layer in network.layers if layer.name in last.states)
    states = dict(last.states)
    states[layer.name] = states[layer.name].copy()
    states[layer.name][(1, STEP, *(0,) * (states[layer.name].ndim - 3), UNIT)] += 0.1
    return network, layer, [*right, replace(last, states=states)]


def first(network, recordings):
    return first_wrong_step(network, recordings, step_rows(network, observe(network, recordings)))


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def weights_of(layer):
    return (layer.weights[name].astype(np.float64) for name in ("kernel", "recurrent_kernel", "bias"))


def test_gates_and_sums_of_an_lstm_are_those_of_its_equations():
    network, layer, recordings = recorded("lstm")

    step = first(network, recordings)

    w, u, b = weights_of(layer)
    h = recordings[0].states[layer.name][1].astype(np.float64)
    c = np.zeros(h.shape[1])
    for t in range(STEP + 1):
        before = {"h": h[t - 1] if t else np.zeros(h.shape[1]), "c": c}
        z = recordings[0].inputs[0][1, t] @ w + before["h"] @ u + b
        z_i, z_f, z_g, z_o = np.split(z, 4)
        c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_g)
    expected = {
        "i": (z_i, sigmoid(z_i)),
        "f": (z_f, sigmoid(z_f)),
        "o": (z_o, sigmoid(z_o)),
        "g": (z_g, np.tanh(z_g)),
        "activation(c)": (c, np.tanh(c)),
    }
    assert (step.layer, step.place) == (layer.name, {"n": 1, "t": STEP})
    assert list(step.activations) == list(expected)
    for name, (sums, values) in expected.items():
        np.testing.assert_allclose(step.activations[name], (sums, values), rtol=1e-12)
    for name, state in before.items():
        np.testing.assert_allclose(step.before[name], state, rtol=1e-12)
    np.testing.assert_allclose(step.after["h"], sigmoid(z_o) * np.tanh(c), rtol=1e-12)
    np.testing.assert_allclose(step.after["c"], c, rtol=1e-12)
    np.testing.assert_array_equal(step.observed, h[STEP])
    np.testing.assert_array_equal(step.x, recordings[0].inputs[0][1, STEP])
    assert abs(step.after["h"][UNIT] - step.observed[UNIT]) == pytest.approx(0.1, abs=1e-5)


def test_gates_of_a_gru_are_those_of_its_equations():
    network, layer, recordings = recorded("gru_reset_before")

    step = first(network, recordings)

    w, u, b = weights_of(layer)
    h, x = step.before["h"], step.x
    m = len(h)
    z, r = (sigmoid(x @ w[:, k * m :][:, :m] + b[k * m :][:m] + h @ u[:, k * m :][:, :m]) for k in (0, 1))
    g = np.tanh(x @ w[:, 2 * m :] + b[2 * m :] + (r * h) @ u[:, 2 * m :])
    for name, values in {"z": z, "r": r, "g": g}.items():
        np.testing.assert_allclose(step.activations[name][1], values, rtol=1e-12)
    np.testing.assert_allclose(step.after["h"], z * h + (1.0 - z) * g, rtol=1e-12)


def test_of_two_layers_that_fail_at_the_same_place_the_first_is_shown():
    network, layer, recordings = recorded("lstm")
    (row,) = [row for row in step_rows(network, observe(network, recordings)) if row.layer == layer.name]

    step = first_wrong_step(network, recordings, [row, replace(row, layer="another")])

    assert step.layer == layer.name


def test_nothing_is_shown_where_no_step_of_a_recurrent_layer_is_the_first_to_fail():
    network, _, (recording,) = recorded("lstm")
    right = emulate(network, [recording.inputs])

    assert first(network, right) is None
    assert first_wrong_step(network, right, ()) is None


def test_image_at_every_step_is_not_shown():
    network, _, recordings = recorded("conv_lstm1d")

    assert first(network, recordings) is None
