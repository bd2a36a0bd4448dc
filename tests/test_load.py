"""Keras gets from a file what changes a number, and nothing else of it."""

import json
import zipfile

import h5py
import numpy as np
import pytest

from rnncheck.frameworks.keras.files.modelfile import open_model
from rnncheck.frameworks.keras.load import load

FORMATS = pytest.mark.parametrize("suffix", [".keras", ".h5"])


def model_with_every_nesting():
    from keras import Input, Model, Sequential, layers

    x = Input((6, 3))
    inner = Sequential([Input((6, 3)), layers.Conv1D(3, 2, padding="same"), layers.BatchNormalization()])
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(inner(x))
    y = layers.RNN([layers.GRUCell(3), layers.SimpleRNNCell(2)], return_sequences=True)(y)
    model = Model(x, layers.TimeDistributed(layers.Dense(2))(layers.LayerNormalization()(y)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1.0, weight.shape) for weight in model.get_weights()])
    return model


def described_anew(path, change):
    """Write a model file with what `change` makes of its description."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(change(json.loads(file.attrs["model_config"])))
        return
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["config.json"] = json.dumps(change(json.loads(members["config.json"])))
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def with_options(described, options):
    """Give every layer and cell that has a class in Keras other values for options that end in a word."""
    if isinstance(described, list):
        return [with_options(each, options) for each in described]
    if not isinstance(described, dict):
        return described
    return {
        key: next((new for ending, new in options.items() if key.endswith(ending)), with_options(value, options))
        for key, value in described.items()
    }


def of_keras(kind, **config):
    return {"module": "keras.initializers", "class_name": kind, "config": config, "registered_name": None}


UNKNOWN = {"module": "this_module", "class_name": "Anything", "config": {}, "registered_name": "package>Anything"}
HOSTILE = {
    "initializers": {"_initializer": of_keras("VarianceScaling", scale=1.0, mode="fan_in", distribution="absurd")},
    "unknown classes": {"kernel_initializer": UNKNOWN, "_regularizer": UNKNOWN, "_constraint": UNKNOWN},
}


@pytest.mark.few(2)
@FORMATS
@pytest.mark.parametrize("options", HOSTILE.values(), ids=HOSTILE)
def test_options_that_change_no_number_are_not_given_to_keras(options, suffix, tmp_path):
    import keras

    model, path = model_with_every_nesting(), tmp_path / f"model{suffix}"
    model.save(path)
    x = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)
    described_anew(path, lambda described: with_options(described, options))
    with pytest.raises((ValueError, TypeError)):  # Keras would act on them
        keras.saving.load_model(path, compile=False, safe_mode=True)

    np.testing.assert_array_equal(np.asarray(load(open_model(path))(x)), np.asarray(model(x)))


def test_model_inside_a_model_is_not_compiled(tmp_path):
    import keras

    path = tmp_path / "model.keras"
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    keras.Sequential([keras.Input((3,)), inner]).save(path)

    def compiled(described):
        described["config"]["layers"][1]["compile_config"] = {"optimizer": UNKNOWN, "loss": "mse"}
        return described

    described_anew(path, compiled)
    with pytest.raises((ValueError, TypeError)):
        keras.saving.load_model(path, compile=False, safe_mode=True)

    assert load(open_model(path)).count_params() == 3 * 2 + 2


def test_registered_object_is_not_called(tmp_path):
    import keras

    called = []

    @keras.saving.register_keras_serializable("hostile")
    class Noted(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            called.append(shape)
            return keras.ops.zeros(shape, dtype)

    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4, 3)), keras.layers.GRU(2, recurrent_initializer=Noted())]).save(path)
    keras.saving.load_model(path)
    assert called.count((2, 6)) == 2
    called.clear()

    load(open_model(path))

    assert called == []


def test_sizes_to_build_for_are_not_given_to_keras(tmp_path):
    import keras

    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4, 3)), keras.layers.GRU(2), keras.layers.Dense(2)]).save(path)

    def other_sizes(described):
        for layer in described["config"]["layers"][1:]:
            layer["build_config"] = {"input_shape": [None, 2**40]}
        return described

    described_anew(path, other_sizes)

    assert load(open_model(path)).count_params() == 3 * 6 + 2 * 6 + 2 * 6 + 3 * 2


@FORMATS
def test_activation_that_is_written_as_an_object_goes_by_its_name(suffix, tmp_path):
    import keras

    path = tmp_path / f"model{suffix}"
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(2, recurrent_activation="relu")])
    model.save(path)
    written = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    described_anew(path, lambda described: with_options(described, {"recurrent_activation": written}))

    loaded = load(open_model(path))

    assert loaded.layers[-1].cell.recurrent_activation is keras.activations.relu
