"""Models that Keras 2 wrote and ran: recorded runs against the replay, and the files under today's Keras."""

import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import rnncheck
from rnncheck.cases.inputs import check_inputs
from rnncheck.checks.check import check
from rnncheck.checks.verdicts import Check, Verdict
from rnncheck.equations.cells import CELLS
from rnncheck.errors import UnsupportedError
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.frameworks.keras.files.modelfile import open_model
from rnncheck.frameworks.keras.load import load
from rnncheck.network import Activation, Recording

FIXTURES = Path(__file__).parent.parent / "fixtures" / "keras2"
RECORDED = {
    version: json.loads((FIXTURES / version / "recorded.json").read_text())["models"]
    for version in ("2.12.1", "2.15.1")
}
FILES = [
    f"{version}/{name}"
    for version, models in RECORDED.items()
    for model in models.values()
    for name in model["files"]
    if not name.endswith(".npz")
]
HARD_SIGMOID = ("lstm_hard_sigmoid", "gru_hard_sigmoid", "conv_lstm1d")
# Layers whose steps were recorded, but not what they read: only the end-to-end check sees them.
READS_UNSEEN = {
    "bidirectional_merges": {
        "bidirectional_1/forward_gru",
        "bidirectional_1/backward_gru",
        "bidirectional_2/forward_simple_rnn",
        "bidirectional_2/backward_simple_rnn",
    },
    "rnn_cells": {"rnn_2"},
    "rnn_stacked_cells": {"rnn"},
    "encoder_decoder": {"decoder"},
    "nested_sequential": {"gru"},
    "convolution_norms": {"lstm"},
}
# A backward layer of its own, which Keras 2 wrote by the first name and ran by the second.
RAN_AS = {"bidirectional_states": {"bidirectional/lstm": "bidirectional/backward_lstm"}}
NOTE = (
    "the file was written by Keras {}, whose hard_sigmoid is 0.2x + 0.5; that is what is expected. "
    "Keras 3 computes x/6 + 0.5 when it loads the file: a mismatch here says that the model changed."
)


def path_of(model, version="2.15.1"):
    """The file of a model of one version."""
    return FIXTURES / version / RECORDED[version][model]["files"][0]


def network_of(path):
    file = open_model(path)
    return read(file.config, file.weights, file.keras_version)


def recorded(path, network, version=None):
    """What Keras 2 computed, call by call."""
    folder = FIXTURES / (version or path.parent.name)
    model = json.loads((folder / "recorded.json").read_text())["models"][path.stem]
    recurrent = {layer.name for layer in network.layers if layer.kind in CELLS}
    written = {ran: name for name, ran in RAN_AS.get(path.stem, {}).items() if name in recurrent}
    states = {written.get(ran, ran): ran for ran in model["states"]}
    with np.load(folder / f"{path.stem}.npz") as arrays:
        return [
            Recording(
                check_inputs(network, {spec.name: arrays[prefix + spec.name] for spec in network.inputs}),
                tuple(arrays[f"{prefix}output_{k}"] for k in range(len(model["outputs"]))),
                {name: arrays[f"{prefix}states/{ran}"] for name, ran in states.items()},
            )
            for prefix in ["", "call_1/"][: model["calls"]]
        ]


def verified(path, version=None):
    """Verify a file on the inputs that were recorded with it."""
    (first, *_) = recorded(path, network_of(path), version)
    (entry,) = rnncheck.verify(path, list(first.inputs)).entries
    return entry


def with_todays_hard_sigmoid(network):
    def todays(value):
        return Activation("hard_sigmoid") if value == Activation("hard_sigmoid_keras2") else value

    layers = [
        replace(layer, options={name: todays(value) for name, value in layer.options.items()})
        for layer in network.layers
    ]
    return replace(network, layers=tuple(layers))


def edited(source, folder, edit):
    """A copy of a file with another description: `edit` changes it, and the JSON that it came from."""
    target = folder / source.name
    target.write_bytes(source.read_bytes())
    if source.suffix == ".h5":
        with h5py.File(target, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config["config"])
            file.attrs["model_config"] = json.dumps(config)
        return target
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config["config"])
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in {**members, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)
    return target


def layer_named(config, name):
    (found,) = (layer for layer in config["layers"] if layer["config"]["name"] == name)
    return found


# --- the recorded runs ---


@pytest.mark.parametrize("file", FILES)
def test_replay_computes_what_keras_2_computed(file):
    network = network_of(FIXTURES / file)
    recordings = recorded(FIXTURES / file, network)

    rows, _ = check(network, recordings)

    stepped = {row.layer for row in rows if row.check is Check.STEP}
    as_a_whole = {row.layer for row in rows if row.check is Check.END_TO_END and row.output == "h"}
    assert {row.verdict for row in rows if row.decides} == {Verdict.MATCH}
    assert set(recordings[0].states) - stepped == as_a_whole == READS_UNSEEN.get(Path(file).stem, set())
    assert [row.check for row in rows].count(Check.END_TO_END) == len(network.outputs) + len(as_a_whole)


def test_every_recorded_model_has_a_file_of_both_versions():
    assert set(RECORDED["2.12.1"]) == set(RECORDED["2.15.1"])
    assert {
        str(path.relative_to(FIXTURES)) for path in FIXTURES.glob("*/*") if path.suffix in {".h5", ".keras"}
    } == set(FILES)


@pytest.mark.parametrize("model", HARD_SIGMOID)
@pytest.mark.parametrize("version", RECORDED)
def test_hard_sigmoid_of_keras_3_is_not_what_keras_2_computed(version, model):
    network = network_of(path_of(model, version))

    rows, _ = check(with_todays_hard_sigmoid(network), recorded(path_of(model, version), network))

    (step,) = (row for row in rows if row.check is Check.STEP)
    assert (step.verdict, step.proven) == (Verdict.MISMATCH, True)


def test_second_call_of_a_stateful_model_starts_from_the_first():
    network = network_of(path_of("stateful_lstm"))
    first, second = recorded(path_of("stateful_lstm"), network)

    rows, _ = check(network, (second, first))

    assert {row.verdict for row in rows if row.layer == "lstm"} == {Verdict.MISMATCH}


@pytest.mark.parametrize("model", RECORDED["2.12.1"])
def test_both_versions_wrote_the_same_model(model):
    one, other = (network_of(path_of(model, version)) for version in ("2.12.1", "2.15.1"))

    assert (one.name, one.inputs, one.outputs) == (other.name, other.inputs, other.outputs)
    for layer, twin in zip(one.layers, other.layers, strict=True):
        plain = [field.name for field in fields(layer) if field.name != "weights"]
        assert [getattr(layer, name) for name in plain] == [getattr(twin, name) for name in plain]
        assert layer.weights.keys() == twin.weights.keys()
        for name, weight in layer.weights.items():
            assert np.array_equal(weight, twin.weights[name])


# --- the files under today's Keras ---


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "file",
    [
        "2.12.1/activation_layers.h5",
        "2.15.1/bidirectional_concat.keras",
        "2.12.1/embedding_lstm.h5",
        "2.15.1/embedding_lstm.keras",
        "2.15.1/encoder_decoder.keras",
        "2.12.1/given_mask_and_states.h5",
        "2.15.1/convolution_norms.keras",
        "2.12.1/lstm_mixed_float16.h5",
        "2.12.1/nested_functional.keras",
        "2.15.1/nested_sequential.keras",
        "2.15.1/rnn_stacked_cells.keras",
        "2.12.1/shared_lstm.h5",
        "2.15.1/stateful_lstm.keras",
    ],
)
def test_keras_3_computes_what_keras_2_meant(file):
    entry = verified(FIXTURES / file)

    assert entry.verdict is Verdict.MATCH
    steps = {row.layer for row in entry.rows if row.check is Check.STEP}
    assert steps >= set(RECORDED[file[:6]][Path(file).stem]["states"])


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("file", "version"), [("2.12.1/gru_hard_sigmoid.h5", "2.12.0"), ("2.15.1/conv_lstm1d.keras", "2.15.0")]
)
def test_keras_3_computes_another_hard_sigmoid_and_the_note_says_so(file, version):
    entry = verified(FIXTURES / file)

    assert entry.verdict is Verdict.MISMATCH
    assert all(row.proven for row in entry.rows if row.check is Check.STEP)
    assert NOTE.format(version) in entry.notes


def test_what_keras_3_refuses_in_todays_form_too_is_an_error_row():
    """Keras 3 takes the states of a Bidirectional's two layers for the same in number, which here they are not."""
    entry = verified(path_of("bidirectional_states"))

    (row,) = entry.rows
    assert (row.verdict, row.detail) == (Verdict.ERROR, "IndexError: list index out of range")


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["Functional", "Sequential"])
def test_calls_of_a_model_in_a_model_are_counted_from_its_own_graph(kind, tmp_path):
    def edit(config):
        inner = layer_named(config, "inner")
        inner["class_name"] = kind
        if kind == "Sequential":
            inner["config"] = {"name": "inner", "layers": inner["config"]["layers"]}
        config["output_layers"] = [["inner", 2, 0], ["average", 0, 0], ["inner", 1, 0]]

    path = edited(path_of("nested_functional", "2.12.1"), tmp_path, edit)

    entry = verified(path, "2.12.1")

    assert entry.verdict is Verdict.MATCH
    assert [row.layer for row in entry.rows if row.check is Check.END_TO_END] == [
        "inner@2/dense",
        "average",
        "inner/dense",
    ]


@pytest.mark.few(1)
@pytest.mark.parametrize("file", ["2.12.1/bidirectional_concat.h5", "2.15.1/bidirectional_concat.keras"])
def test_second_layer_of_a_bidirectional_that_begins_backwards_goes_forwards(file, tmp_path):
    def edit(config):
        for layer in config["layers"]:
            if layer["class_name"] == "Bidirectional":
                layer["config"]["layer"]["config"]["go_backwards"] = True

    path = edited(FIXTURES / file, tmp_path, edit)

    entry = verified(path, file[:6])

    assert entry.verdict is Verdict.MATCH
    (both, *_) = (layer for layer in load(open_model(path)).layers if hasattr(layer, "forward_layer"))
    assert (both.forward_layer.go_backwards, both.backward_layer.go_backwards) == (True, False)


def test_sequential_model_as_a_list_of_layers_is_run(tmp_path):
    path = tmp_path / "simple_rnn.h5"
    path.write_bytes(path_of("simple_rnn", "2.12.1").read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps({**config, "config": config["config"]["layers"]})

    entry = verified(path, "2.12.1")

    assert (config["class_name"], entry.verdict) == ("Sequential", Verdict.MATCH)


def test_option_that_a_file_lacks_means_what_it_meant_then(tmp_path):
    def edit(config):
        del layer_named(config, "gru")["config"]["reset_after"]

    path = edited(path_of("gru_reset_before", "2.12.1"), tmp_path, edit)

    entry = verified(path, "2.12.1")

    assert entry.verdict is Verdict.MATCH


def test_layers_are_told_by_name_where_keras_3_lists_them_in_another_order(tmp_path):
    path = edited(path_of("encoder_decoder", "2.12.1"), tmp_path, lambda config: config["layers"].reverse())

    entry = verified(path, "2.12.1")

    assert entry.verdict is Verdict.MATCH


def test_file_that_keras_takes_is_not_rewritten():
    path = FIXTURES.parents[1] / "rnncheck" / "demo" / "sine.keras"

    model = load(open_model(path))

    with zipfile.ZipFile(path) as archive:
        assert model.name == json.loads(archive.read("config.json"))["config"]["name"]
    assert any(getattr(layer, "kernel_initializer", None) is not None for layer in model.layers)


def test_refusal_of_a_file_of_keras_3_is_what_keras_says():
    file = replace(open_model(path_of("lstm")), keras_version="3.0.0")

    with pytest.raises(ValueError, match=r"^Unrecognized keyword arguments passed to LSTM: \{'time_major': False\}$"):
        load(file)


# --- what such a file may not have ---


@pytest.mark.parametrize("file", ["2.12.1/lstm.h5", "2.15.1/lstm.keras"])
def test_time_major_is_refused_by_name(file, tmp_path):
    def edit(config):
        layer_named(config, "lstm")["config"]["time_major"] = True

    path = edited(FIXTURES / file, tmp_path, edit)

    with pytest.raises(UnsupportedError) as refused:
        rnncheck.verify(path)
    assert str(refused.value) == (
        "layer 'lstm': time_major=True is not replayed for LSTM; expected time_major=False. "
        "With unchecked set to allow, the other layers are checked."
    )


@pytest.mark.parametrize("file", ["2.12.1/lstm.h5", "2.15.1/lstm.keras"])
def test_lambda_is_refused_by_name(file, tmp_path):
    def edit(config):
        code = {"name": "mine", "function": ["4wEAAAA=", None, None], "function_type": "lambda"}
        config["layers"].append({"class_name": "Lambda", "module": "keras.layers", "config": code})

    path = edited(FIXTURES / file, tmp_path, edit)

    with pytest.raises(UnsupportedError, match=r"^layer 'mine': Lambda is not a layer that rnncheck replays; "):
        rnncheck.verify(path)


@pytest.mark.few(1)
@pytest.mark.parametrize("file", ["2.12.1/lstm.h5", "2.15.1/lstm.keras"])
def test_nothing_that_a_file_names_is_called(file, tmp_path):
    made = tmp_path / "made"

    def edit(config):
        called = {"module": "pathlib", "class_name": "Path.touch", "config": {"self": str(made)}}
        layer_named(config, "lstm")["config"]["kernel_initializer"] = called

    path = edited(FIXTURES / file, tmp_path, edit)

    entry = verified(path, file[:6])

    assert entry.verdict is Verdict.MATCH
    assert not made.exists()


def test_names_with_slashes_which_keras_3_refuses(tmp_path):
    source = path_of("nested_functional").with_suffix(".h5")
    path = tmp_path / "slashes.h5"
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        for name in ("input_1", "input_2", "input_3", "gru", "dense", "inner", "average", "model"):
            file.attrs["model_config"] = file.attrs["model_config"].replace(f'"{name}"', f'"a/{name}"')
        weights = file["model_weights"]
        names = list(weights.attrs["layer_names"])
        for name in names:
            weights.move(name, f"a/{name}")
        weights.attrs["layer_names"] = [f"a/{name}" for name in names]

    plain, renamed = verified(source), rnncheck.verify(path).entries[0]

    assert network_of(path).name == "a/model"
    assert renamed.verdict == "match"
    assert [row.layer for row in renamed.rows] == [
        "/".join(f"a/{name}" for name in row.layer.split("/")) for row in plain.rows
    ]
