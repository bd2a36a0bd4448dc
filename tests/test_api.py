"""The Python functions, as somebody calls them who has read the README alone: what they take, what they refuse."""

import pickle
import re
from pathlib import Path

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from keras import layers

import rnncheck
from rnncheck import Case, Entry, InputError, Report, UnsupportedError
from rnncheck.cases.grid import default_grid
from rnncheck.checks.verdicts import failed_row
from rnncheck.faults.catalogue import FAULTS, causes
from rnncheck.faults.catalogue.fault import injections
from rnncheck.faults.emulation import emulate
from rnncheck.frameworks.sources import open_network

SINE = Path(__file__).parent.parent / "rnncheck" / "demo" / "sine.keras"
(GATE_ORDER,) = (fault for fault in FAULTS if fault.name == "gate_order_iofc")
X = np.load(SINE.with_name("inputs.npy"))


@pytest.fixture(scope="module")
def network():
    return open_network(SINE)[1]


@pytest.fixture(scope="module")
def recording(network):
    return emulate(network, [(X,)])[0]


# --- replay ---


def test_case_is_to_be_built_first():
    with pytest.raises(
        InputError, match=re.escape("expected a Network, a Keras model or a file. Build the model first")
    ):
        rnncheck.replay(Case(), X)


@pytest.mark.parametrize("inputs", [X, [X], {"sine": X}], ids=["array", "list", "mapping"])
def test_replay_takes_inputs_as_the_others_do(network, recording, inputs):
    (output,) = rnncheck.replay(network, inputs).outputs

    assert output.dtype == np.float64
    np.testing.assert_allclose(output, recording.outputs[0], atol=1e-6)


def test_replay_takes_a_file_and_shows_every_step(network, recording):
    replayed = rnncheck.replay(SINE, X, every_step=True)

    np.testing.assert_allclose(replayed.sequences["lstm"], recording.states["lstm"], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param(X[:, :5], "input 'sine': got shape (8, 5, 1); expected (N, 24, 1)", id="steps"),
        pytest.param("x.npy", "input 'sine': got the path 'x.npy'; expected an array.", id="path"),
        pytest.param(X * np.nan, "input 'sine': got nan at [0, 0, 0]; expected finite numbers.", id="nan"),
        pytest.param([X, X], "inputs: got 2 arrays; expected 1: 'sine'.", id="count"),
    ],
)
def test_replay_refuses_what_does_not_fit(network, inputs, message):
    with pytest.raises(InputError, match=re.escape(message)):
        rnncheck.replay(network, inputs)


# --- compare ---


@pytest.mark.few(1)
@pytest.mark.parametrize("scale", [0.5, 0.0])
def test_function_that_writes_over_its_input_is_held_against_what_it_was_given(network, scale):
    def port(x):
        (wrong,) = rnncheck.replay(network, x * np.float32(scale)).outputs
        x *= np.float32(scale)
        return wrong.astype(np.float32)

    given = X.copy()
    report = rnncheck.compare(network, given, port)

    assert report.verdict == "mismatch"
    np.testing.assert_array_equal(given, X)


def test_function_that_writes_over_its_input_after_the_work_matches(network):
    def port(x):
        (right,) = rnncheck.replay(network, x).outputs
        x *= np.float32(0.0)
        return right.astype(np.float32)

    assert rnncheck.compare(network, X, port, metamorphic=True).verdict == "match"


@pytest.mark.parametrize(
    "form", [lambda h: h, lambda h: [h], lambda h: {"lstm": h}], ids=["array", "list", "mapping"]
)
def test_states_of_the_only_recurrent_layer_need_no_name(network, recording, form):
    report = rnncheck.compare(network, X, recording.outputs, states=form(recording.states["lstm"]))

    assert [row.check for row in report.rows] == ["step", "step", "end_to_end"]
    assert report.verdict == "match"


def test_blind_spots_are_looked_for_where_somebody_asks(network, recording):
    (entry,) = rnncheck.compare(network, X, recording.outputs, blind_spots=True).entries
    (unasked,) = rnncheck.compare(network, X, recording.outputs).entries

    assert "state_kept_between_calls" in {spot.fault for spot in entry.blind_spots}
    assert (unasked.blind_spots, unasked.rows, unasked.precision) == ((), entry.rows, entry.precision)


def test_a_network_is_what_is_extracted_from_it(network):
    assert rnncheck.extract(network) is network


def test_model_may_put_out_what_it_was_given():
    ids, x = keras.Input((5,), dtype="int32"), keras.Input((5, 2), name="x")
    h = layers.LSTM(3)(layers.concatenate([layers.Embedding(7, 2)(ids), x]))
    model = keras.Model([ids, x], [ids, h, x])
    inputs = [np.arange(10).reshape(2, 5) % 7, np.linspace(-1.0, 1.0, 20).reshape(2, 5, 2).astype(np.float32)]
    wrong = [inputs[0], model.predict(inputs, verbose=0)[1], inputs[1] + np.float32(0.5)]

    assert rnncheck.verify(model, inputs, blind_spots=True).verdict == "match"
    report = rnncheck.compare(model, inputs, wrong)

    assert [row.verdict for row in report.rows] == ["match", "match", "mismatch"]
    assert "layer 'x' differs from its equations" in str(report)


def test_report_is_data(network, recording):
    (entry,) = rnncheck.compare(network, X, recording.outputs).entries

    assert vars(entry).keys() == set(rnncheck.Entry.__dataclass_fields__)
    assert isinstance(entry.blind_spots, tuple)


@pytest.mark.parametrize("states", [{}, None])
def test_no_states_are_no_states(network, recording, states):
    assert len(rnncheck.compare(network, X, recording.outputs, states=states).rows) == 1


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(lambda y: torch.tensor(y).to(torch.bfloat16), id="torch bfloat16"),
        pytest.param(lambda y: torch.tensor(y, requires_grad=True), id="torch with a gradient"),
        pytest.param(lambda y: jnp.asarray(y, jnp.bfloat16), id="jax bfloat16"),
    ],
)
def test_tensors_of_frameworks_are_arrays(network, recording, tensor):
    report = rnncheck.compare(network, X, tensor(recording.outputs[0]), precision="bfloat16")

    assert report.verdict == "match"


def test_numbers_of_numpy_are_numbers(network, recording):
    options = {"rtol": np.float32(1e-3), "atol": np.int64(0), "seed": np.int64(3)}

    assert rnncheck.compare(network, X, recording.outputs, **options).verdict == "match"
    assert rnncheck.verify(SINE, samples=np.int64(2), seed=np.int64(1)).verdict == "match"


@pytest.mark.parametrize("call", ["compare", "replay"])
def test_id_beyond_the_table_of_an_inner_embedding_is_refused(call):
    model = keras.Sequential(
        [keras.Input((2,)), layers.Activation("relu"), layers.ReLU(), layers.Embedding(3, 2, name="table")]
    )
    arguments = [rnncheck.extract(model), np.full((1, 2), 9.0), np.zeros((1, 2, 2))]

    with pytest.raises(InputError, match="Embedding: got an input of 9; expected whole numbers from 0 to 2"):
        getattr(rnncheck, call)(*arguments[: 3 if call == "compare" else 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"states": "h.npy"}, "states of 'lstm': got the path 'h.npy'; expected an array.", id="path"),
        pytest.param({"states": [1.0, 2.0]}, "states: got 2 arrays without a name; expected names", id="count"),
        pytest.param({"precision": ["float16"]}, "precision: got ['float16']; expected one of float64", id="list"),
        pytest.param({"rtol": "a", "atol": 0}, "rtol: got 'a'; expected a finite number from 0 up.", id="rtol"),
    ],
)
def test_compare_refuses_in_words(network, recording, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        rnncheck.compare(network, X, recording.outputs, **options)


def test_masked_array_is_refused(network, recording):
    masked = np.ma.masked_array(recording.outputs[0], mask=True)

    with pytest.raises(InputError, match="output 'next_value': got a masked array; expected plain numbers"):
        rnncheck.compare(network, X, masked)


@pytest.fixture(scope="module")
def named():
    """A model that returns a mapping, in an order that is not that of its layers."""
    x = keras.Input((5, 2), name="x")
    h = layers.GRU(3, name="gru")(x)
    outputs = {"second": layers.Dense(2, name="a")(h), "first": layers.Dense(2, name="b")(h)}
    return keras.Model(x, outputs)


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["model", "file"])
def test_outputs_go_by_the_names_that_the_model_has_for_them(tmp_path, named, kind):
    x = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    named.save(tmp_path / "named.keras")
    model = named if kind == "model" else tmp_path / "named.keras"
    predicted = named.predict(x, verbose=0)

    assert rnncheck.compare(model, x, predicted).verdict == "match"
    assert rnncheck.compare(model, x, {"a": predicted["second"], "b": predicted["first"]}).verdict == "match"
    assert rnncheck.compare(model, x, lambda x: named.predict(x, verbose=0)).verdict == "match"
    swapped = {"first": predicted["second"], "second": predicted["first"]}
    assert rnncheck.compare(model, x, swapped).verdict == "mismatch"
    with pytest.raises(InputError, match=re.escape("got arrays named 'first'; expected 'first', 'second'.")):
        rnncheck.compare(model, x, {"first": predicted["first"]})


# --- verify ---


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        pytest.param((SINE,), {"seed": -1}, "got seed=-1; expected a whole number from 0 up.", id="seed"),
        pytest.param((SINE,), {"seed": "a"}, "got seed='a'; expected a whole number from 0 up.", id="word"),
        pytest.param((SINE,), {"samples": 2.5}, "got N=2.5; expected a whole number from 1 up.", id="half"),
        pytest.param((SINE, X), {"samples": 7}, "samples: got both samples and inputs;", id="samples of inputs"),
        pytest.param((Case(),), {"samples": 3}, "samples: got it with the case", id="samples of a case"),
        pytest.param((Case(),), {"seed": 3}, "seed: got it with the case", id="seed of a case"),
        pytest.param((SINE,), {"paths": []}, "paths: got ''; expected predict, call,", id="no path"),
        pytest.param((SINE,), {"paths": "fast"}, "paths: got 'fast'; expected predict, call,", id="path"),
        pytest.param((SINE,), {"backends": "theano"}, "backend: got 'theano'; expected tensorflow", id="backend"),
        pytest.param(
            (open_network(SINE)[1],),
            {},
            "got a Network; expected a model of Keras or PyTorch",
            id="network",
        ),
    ],
)
def test_verify_refuses_in_words(arguments, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        rnncheck.verify(*arguments, **options)


def test_one_path_needs_no_list():
    (entry,) = rnncheck.verify(SINE, X, paths="call", backends=None).entries

    assert (entry.path, entry.verdict) == ("call", "match")


# --- from one process to another ---


def test_report_travels_with_what_lies_behind_it(network, recording):
    wrong = emulate(next(iter(injections(network, [GATE_ORDER]))).network, [(X,)])[0]
    report = rnncheck.compare(network, X, wrong.outputs)

    travelled = pickle.loads(pickle.dumps(report))  # noqa: S301 - the test's own

    assert travelled.to_dict() == report.to_dict()
    assert travelled.entries[0].diagnosis.explanations[0].faults == ("gate_order_iofc",)


def test_mismatch_travels_with_its_report(network, recording):
    report = rnncheck.compare(network, X, recording.outputs[0] + 1.0)

    with pytest.raises(rnncheck.MismatchError) as raised:
        report.raise_for_mismatch()
    travelled = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - the test's own

    assert str(travelled) == str(raised.value)
    assert travelled.report.to_dict() == report.to_dict()


# --- what is taken where nothing is given ---


@pytest.mark.parametrize("options", [{}, {"seed": 7}], ids=str)
def test_report_says_that_the_inputs_are_random(network, options):
    def port(x):
        return rnncheck.replay(network, x).outputs[0].astype(np.float32)

    (entry,) = rnncheck.compare(network, None, port, **options).entries

    assert f"no inputs given: 4 random samples, seed {options.get('seed', 0)}" in entry.notes


def test_report_of_a_model_says_that_the_inputs_are_random_and_how_many():
    (random,) = rnncheck.verify(SINE, samples=1).entries
    (given,) = rnncheck.verify(SINE, X).entries

    assert random.notes == ("no inputs given: 1 random sample, seed 0",)
    assert given.notes == ()


@pytest.mark.long
def test_verify_without_a_model_runs_the_built_in_grid_as_the_command_does():
    report = rnncheck.verify(seed=3)

    assert [entry.name for entry in report.entries] == [str(case) for case in default_grid(3)]
    assert report.verdict == "match"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"inputs": X, "steps": 3},
            "inputs, steps: got it without a model; expected none, since a case has its own.",
        ),
        ({"unchecked": "allow"}, "unchecked: got it without a model; expected none, since a case has its own."),
    ],
)
def test_grid_takes_nothing_that_is_of_a_model(options, message):
    with pytest.raises(InputError) as refused:
        rnncheck.verify(**options)

    assert str(refused.value) == message


def test_none_is_no_model():
    with pytest.raises(UnsupportedError, match="expected a built Sequential or functional model"):
        rnncheck.verify(None)


def test_notes_speak_of_no_option_of_the_command_line(network, recording):
    remedies = {cause.remedy for cause in vars(causes).values() if isinstance(cause, causes.Cause)}
    cut = str(Report({}, tuple(Entry(f"case {number}", (failed_row("gru", "it crashed"),)) for number in range(40))))

    assert "... and 16 more cases; to_frame() has every row" in cut.splitlines()
    assert [said for said in remedies if "--" in said] == []
