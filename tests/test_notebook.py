"""The teaching notebook that all of this started from: the product reproduces every fact that it printed."""

import json
from pathlib import Path

import numpy as np
import pytest

import rnncheck
from experiments.random_case import verify_case
from rnncheck.checks.verdicts import Verdict

PRINTED = json.loads((Path(__file__).parents[1] / "fixtures" / "notebook.json").read_text())
RUN = Path(__file__).parents[1] / "fixtures" / "notebook_run.npz"
LAYERS = ("simple_rnn", "dense")
# The notebook shows its two answers [-2.148694 1.6168525] and [-2.1486938 1.61685233] agreeing to this.
SHOWN_AGREEMENT = 2e-7


@pytest.fixture(scope="module")
def model():
    """The notebook's model with the weights that it printed."""
    model = rnncheck.build(rnncheck.NOTEBOOK).model
    for name in LAYERS:
        layer = PRINTED[name]
        weights = [layer[weight] for weight in ("kernel", "recurrent_kernel", "bias") if weight in layer]
        model.get_layer(name).set_weights([np.array(weight, np.float32) for weight in weights])
    return model


@pytest.fixture(scope="module")
def network(model):
    return rnncheck.extract(model)


def standard_normal(seed, n=1):
    return np.random.default_rng(seed).normal(size=(n, 10, 3)).astype(np.float32)


def test_case_has_the_notebooks_sizes():
    case = rnncheck.NOTEBOOK

    assert {size: getattr(case, size) for size in "NTDMK"} == PRINTED["sizes"]
    assert (case.activation, case.weights, case.return_sequences) == ("tanh", "keras", False)


def test_weights_have_the_printed_shapes(network):
    shapes = [weight.shape for name in LAYERS for weight in network.layer(name).weights.values()]

    assert shapes == [(3, 5), (5, 5), (5,), (5, 2), (2,)]


def test_extracted_weights_are_the_printed_ones(network):
    for name in LAYERS:
        for weight, array in network.layer(name).weights.items():
            np.testing.assert_array_equal(array, np.array(PRINTED[name][weight], np.float32))


def test_parameters_are_counted_as_printed(model, network):
    assert network.layer("simple_rnn").parameters == PRINTED["simple_rnn"]["parameters"] == 45
    assert network.layer("dense").parameters == PRINTED["dense"]["parameters"] == 12
    assert network.parameters == PRINTED["total_parameters"] == model.count_params() == 57


def test_printed_biases_are_zero(network):
    for name in LAYERS:
        assert not network.layer(name).weights["bias"].any()


def test_printed_recurrent_kernel_is_orthogonal_to_the_printed_digits():
    """NumPy prints 8 digits of a float32 number, so that each is off by at most 5e-9 plus its rounding to float32.

    An error E in R puts E·Rᵀ + R·Eᵀ into R·Rᵀ; a row of R has the norm 1, so that an entry moves by at most
    2·√5·max|E|. Keras' own orthogonal kernel is off by a few roundings of float32 besides.
    """
    kernel = np.array(PRINTED["simple_rnn"]["recurrent_kernel"])
    printing, float32 = 5e-9, 2.0**-24
    allowed = 2 * np.sqrt(5) * (printing + 2 * float32)

    deviation = np.abs(kernel @ kernel.T - np.eye(5)).max()

    assert allowed < 6e-7
    assert deviation <= allowed


def test_notebooks_two_answers_agree_as_it_shows():
    difference = np.subtract(PRINTED["keras_predict"], PRINTED["manual_loop"])

    assert 0.0 < np.abs(difference).max() <= SHOWN_AGREEMENT


@pytest.mark.parametrize("seed", range(5))
def test_replay_agrees_with_predict_as_the_notebook_shows(model, network, seed):
    x = standard_normal(seed)

    predicted = model.predict(x, verbose=0)
    (replayed,) = rnncheck.replay(network, [x]).outputs

    assert predicted.shape == replayed.shape == (1, 2)
    np.testing.assert_allclose(predicted, replayed, rtol=SHOWN_AGREEMENT, atol=SHOWN_AGREEMENT)


@pytest.mark.parametrize("seed", range(5))
def test_replay_is_the_notebooks_manual_loop(network, seed):
    """The loop as the notebook writes it, in NumPy: h = tanh(x_t·Wx + h·Wh + bh); y = h·Wo + bo."""
    Wx, Wh, bh = (np.array(PRINTED["simple_rnn"][name]) for name in ("kernel", "recurrent_kernel", "bias"))
    Wo, bo = (np.array(PRINTED["dense"][name]) for name in ("kernel", "bias"))
    Wx, Wh, Wo = (weight.astype(np.float32).astype(np.float64) for weight in (Wx, Wh, Wo))
    (x,) = standard_normal(seed)
    h = np.zeros(5)
    for x_t in x.astype(np.float64):
        h = np.tanh(np.dot(x_t, Wx) + np.dot(h, Wh) + bh)
    y = np.dot(h, Wo) + bo

    (replayed,) = rnncheck.replay(network, [x[np.newaxis]]).outputs

    np.testing.assert_allclose(replayed[0], y, rtol=1e-13)


def test_notebooks_answer_is_one_that_its_model_can_give(network):
    """|y_k| = |h·Wo_k| < Σ|Wo_k|, since |h| < 1: the printed prediction lies inside."""
    reachable = np.abs(network.layer("dense").weights["kernel"]).sum(axis=0)

    assert np.all(np.abs(PRINTED["keras_predict"]) < reachable)


def test_notebooks_model_matches(model):
    for n in (1, 7):
        assert rnncheck.verify(model, standard_normal(0, n)).verdict is Verdict.MATCH


def test_notebooks_case_matches_as_built():
    assert verify_case(rnncheck.NOTEBOOK).verdict is Verdict.MATCH


def test_recorded_run_of_the_notebook_matches_without_a_framework():
    with np.load(RUN) as run:
        inputs, states, outputs = run["inputs"], run["states"], run["outputs"]
    options = {
        "units": 5,
        "activation": rnncheck.Activation("tanh"),
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "zero_output_for_mask": False,
    }
    weights = {
        layer: {name: np.array(PRINTED[layer][name], np.float32) for name in names}
        for layer, names in (("simple_rnn", ("kernel", "recurrent_kernel", "bias")), ("dense", ("kernel", "bias")))
    }
    linear = {"units": 2, "activation": rnncheck.Activation("linear")}
    rnn = rnncheck.Layer("simple_rnn", "SimpleRNN", (rnncheck.Tensor("inputs"),), options, weights["simple_rnn"])
    dense = rnncheck.Layer("dense", "Dense", (rnncheck.Tensor("simple_rnn"),), linear, weights["dense"])
    spec = rnncheck.InputSpec("inputs", (10, 3), "float32")
    network = rnncheck.Network("notebook", (spec,), (rnn, dense), (rnncheck.Tensor("dense"),))

    report = rnncheck.compare(network, inputs, outputs, states={"simple_rnn": states})

    assert report.verdict is rnncheck.Verdict.MATCH
    assert {row.layer for row in report.rows if row.check == "step"} == {"simple_rnn", "dense"}
    assert report.rows[-1].max_abs_diff < 2e-7
