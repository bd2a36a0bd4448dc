"""Weights in one file, the description of their model in another: `--architecture` and `architecture=`."""

import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import rnncheck
from rnncheck import InputError
from rnncheck.frameworks.keras.files.modelfile import open_model
from rnncheck.frameworks.keras.load import load

KERAS_2 = Path(__file__).parent.parent / "fixtures" / "keras2" / "2.15.1" / "nested_functional.h5"
SAVE = "Save the whole model as a .keras file: model.save('model.keras')."
EXPECTED = "expected HDF5 with weights alone, as model.save_weights(...) writes it, beside an architecture"


def model(units=5, features=3, outputs=2, extra=False):
    inputs = keras.Input((6, features), name="x")
    h = layers.Bidirectional(layers.SimpleRNN(units, name="rnn"), name="both")(inputs)
    head = keras.Sequential([keras.Input((2 * units,)), layers.Dense(outputs, name="head")], name="inner")
    h = head(h)
    return keras.Model(inputs, layers.Dense(1, name="extra")(h) if extra else h, name="m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model, its weights and its descriptions."""
    path = tmp_path_factory.mktemp("apart")
    made = model()
    made.save(path / "whole.keras")
    made.save(path / "whole.h5")
    made.save_weights(path / "a.weights.h5")
    (path / "config.json").write_text("\ufeff" + made.to_json(), encoding="utf-8")
    return path


def described_as(folder, **options):
    path = folder / "other.json"
    path.write_text(model(**options).to_json())
    return path


def same(arrays, others):
    return len(arrays) == len(others) and all(map(np.array_equal, arrays, others))


@pytest.mark.parametrize("description", ["config.json", "whole.keras", "whole.h5"])
def test_model_that_keras_runs_has_the_weights(folder, description):
    made = load(open_model(folder / "a.weights.h5", folder / description))

    expected = keras.saving.load_model(folder / "whole.keras").get_weights()
    assert same(made.get_weights(), expected)


def test_weights_run_with_the_description_of_their_model(rnncheck_command, folder, tmp_path):
    weights, report = folder / "a.weights.h5", tmp_path / "report.json"

    done = rnncheck_command("verify", weights, "--architecture", folder / "config.json", "--json", report)
    whole = rnncheck.verify(folder / "whole.keras")

    assert (done.code, done.err) == (0, "")
    (entry,) = json.loads(report.read_text())["cases"]
    (expected,) = whole.to_dict()["cases"]
    assert (entry["model"], entry["rows"]) == ("a.weights.h5", expected["rows"])


def test_every_command_and_function_takes_it(rnncheck_command, folder, tmp_path):
    apart = {"architecture": folder / "config.json"}
    weights, option = folder / "a.weights.h5", ("--architecture", folder / "config.json")
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    (y,) = rnncheck.replay(weights, x, **apart).outputs
    for name, array in (("x", x), ("y", y.astype(np.float32))):
        np.save(tmp_path / f"{name}.npy", array)

    arrays = ("--inputs", tmp_path / "x.npy", "--outputs", tmp_path / "y.npy")
    compared = rnncheck_command("compare", weights, *arrays, *option)
    shown = rnncheck_command("show", weights, *option)

    assert np.array_equal(y, rnncheck.replay(folder / "whole.keras", x).outputs[0])
    assert rnncheck.compare(weights, x, y, precision="float64", **apart).verdict == "match"
    assert rnncheck.extract(weights, **apart).name == "m"
    assert (compared.code, compared.err) == (0, "")
    assert "inner/head" in shown.out


@pytest.mark.parametrize("version", ["2.15.0", None])
def test_weights_of_keras_2(tmp_path, version):
    weights, description = tmp_path / "weights.h5", tmp_path / "model.json"
    with h5py.File(KERAS_2) as whole, h5py.File(weights, "w") as file:
        for name, group in whole["model_weights"].items():
            whole.copy(group, file, name)
        file.attrs.update(whole["model_weights"].attrs)
        config = json.loads(whole.attrs["model_config"])
    description.write_text(json.dumps(config | ({"keras_version": version} if version else {})))

    found, expected = rnncheck.extract(weights, architecture=description), rnncheck.extract(KERAS_2)
    made = load(open_model(weights, description)).get_weights()

    for layer, other in zip(found.layers, expected.layers, strict=True):
        assert (layer.name, layer.kind) == (other.name, other.kind)
        assert all(np.array_equal(array, other.weights[name]) for name, array in layer.weights.items())
    assert same(made, load(open_model(KERAS_2)).get_weights())


def refused(weights, architecture, error=InputError):
    with pytest.raises(error) as raised:
        rnncheck.extract(weights, architecture=architecture)
    return str(raised.value)


WRONG = {
    "units": (
        {"units": 4},
        "layer 'both/forward_rnn': kernel has shape (3, 5); expected (D, M) = (any, 4) for M=4.",
    ),
    "outputs": ({"outputs": 3}, "layer 'inner/head': kernel has shape (10, 2); expected (D, M) = (any, 3) for M=3."),
    "features": (
        {"features": 4},
        (
            "layer 'both/forward_rnn': got shapes that do not fit together, inputs (2, 6, 4) and kernel (3, 5), "
            "recurrent_kernel (5, 5), bias (5,) ("
        ),
    ),
    "missing": (
        {"extra": True},
        "layer 'extra': the file has no weights at layers/dense; expected 2: kernel, bias.",
    ),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_architecture_that_does_not_fit_names_the_layer(folder, tmp_path, options, message):
    weights, architecture = folder / "a.weights.h5", described_as(tmp_path, **options)

    said = refused(weights, architecture)

    assert said.startswith(f"{weights}, with the architecture of {architecture}: {message}")


def test_weights_that_are_left_over_are_named(folder, tmp_path):
    weights = tmp_path / "a.weights.h5"
    model(extra=True).save_weights(weights)

    assert "layers/dense: the file has 2 weights that no layer of the model takes; expected none." in refused(
        weights, folder / "config.json"
    )


@pytest.mark.parametrize("name", ["whole.keras", "whole.h5"])
def test_model_saved_whole_takes_no_architecture(folder, name):
    path = folder / name

    assert refused(path, folder / "config.json") == (
        f"{path}: it is a model saved whole; {EXPECTED}. Leave the architecture out."
    )


def test_what_has_no_weights_takes_no_architecture(folder, tmp_path):
    config, empty = folder / "config.json", tmp_path / "a.h5"
    h5py.File(empty, "w").close()

    assert refused(config, config) == f"{config}: it is no HDF5; {EXPECTED}."
    assert refused(empty, config) == f"{empty}: it is HDF5 without weights of Keras; {EXPECTED}."


NO_CONFIGS = {
    "{}": "it has no class_name and config; expected the description of a model.",
    '[{"class_name": "Dense"}]': "got list; expected an object.",
    "{": (
        "it is no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); expected a "
        "description of a model."
    ),
}


@pytest.mark.parametrize(("content", "message"), NO_CONFIGS.items())
def test_json_that_describes_no_model(folder, tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)

    assert refused(folder / "a.weights.h5", path) == f"{path}: {message} {SAVE}"


def test_description_is_no_model(rnncheck_command, folder):
    done = rnncheck_command("show", folder / "config.json")

    assert done.err == (
        f"rnncheck: {folder / 'config.json'}: it is JSON, which has no weights; expected a .keras or .h5 file. Give "
        "the file of the weights as the model, and this one as its architecture.\n"
    )


def test_architecture_goes_with_a_file(rnncheck_command, folder):
    done = rnncheck_command("verify", "--architecture", folder / "config.json")

    assert (done.code, done.err) == (
        2,
        "rnncheck: --architecture: got it without MODEL; expected a .keras or .h5 file that it belongs to.\n",
    )
    assert refused(model(), folder / "config.json") == (
        "architecture: got it without a file; expected the path of a file of weights as the model."
    )


def test_keras_2_numbers_its_layers_in_its_own_way(folder, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**json.loads(model().to_json()), "keras_version": "2.15.0"}))

    assert open_model(folder / "a.weights.h5", path).weights.numbered_anew
