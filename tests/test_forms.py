"""Model files in the forms that people have: twenty models, each as .keras, as .h5, and with its weights apart."""

import keras
import numpy as np
import pytest
from keras import layers

import rnncheck
from rnncheck import Verdict

pytestmark = pytest.mark.long  # Keras runs each

FIRST = {"data_format": "channels_first"}


def each(*stack):
    return [layers.TimeDistributed(layer) for layer in stack]


def sequential(*stack):
    return lambda: keras.Sequential(stack)


def two_branches():
    x = keras.Input((12, 3), name="a>b")
    fast = layers.Conv1D(4, 3, padding="causal", activation="relu", name="conv ->")(x)
    slow = layers.AveragePooling1D(2, name="pool:0")(fast)
    h = [layers.LSTM(4, name="ä")(fast), layers.GRU(3, name="_b")(slow)]
    return keras.Model(x, layers.Dense(2, name="out@1")(layers.Concatenate()(h)), name="日本")


def nested():
    frames = keras.Sequential(
        [keras.Input((8, 8, 2)), layers.SeparableConv2D(3, 3), layers.GlobalMaxPooling2D()], name="per frame"
    )
    x = keras.Input((4, 8, 8, 2))
    return keras.Model(x, layers.SimpleRNN(5)(layers.TimeDistributed(frames)(x)))


MODELS = {
    "video": sequential(
        keras.Input((3, 9, 9, 2)),
        *each(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()),
        layers.LSTM(5),
        layers.Dense(2, activation="softmax"),
    ),
    "depthwise": sequential(
        keras.Input((3, 8, 8, 4)),
        *each(layers.DepthwiseConv2D((2, 3), depth_multiplier=2, padding="same"), layers.GlobalAveragePooling2D()),
        layers.GRU(4),
    ),
    "grouped": sequential(keras.Input((10, 4)), layers.Conv1D(6, 3, groups=2, strides=2), layers.LSTM(4)),
    "dilated": sequential(keras.Input((16, 3)), layers.Conv1D(5, 3, dilation_rate=4, padding="same"), layers.GRU(4)),
    "separable": sequential(keras.Input((12, 3)), layers.SeparableConv1D(4, 3, depth_multiplier=2), layers.LSTM(4)),
    "volumes": sequential(
        keras.Input((6, 6, 6, 1)), layers.Conv3D(3, 2, strides=2), layers.Reshape((9, 9)), layers.SimpleRNN(4)
    ),
    "pooled_volumes": sequential(
        keras.Input((4, 6, 6, 2)),
        layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True),
        layers.MaxPooling3D((1, 2, 2)),
        layers.AveragePooling3D((2, 1, 1)),
        layers.GlobalMaxPooling3D(),
    ),
    "padded": sequential(keras.Input((7, 3)), layers.ZeroPadding1D((2, 1)), layers.Cropping1D((1, 2)), layers.GRU(4)),
    "padded_frames": sequential(
        keras.Input((3, 5, 6, 2)),
        *each(layers.ZeroPadding2D(((1, 0), (2, 1))), layers.Cropping2D((1, 1)), layers.UpSampling2D((2, 1))),
        *each(layers.GlobalAveragePooling2D()),
        layers.LSTM(3),
    ),
    "upsampled": sequential(keras.Input((5, 3)), layers.UpSampling1D(3), layers.LSTM(4, return_sequences=True)),
    "group_norm": sequential(keras.Input((6, 8)), layers.GroupNormalization(4), layers.GRU(4)),
    "instance_norm": sequential(keras.Input((6, 4)), layers.GroupNormalization(-1, epsilon=1e-5), layers.LSTM(3)),
    "unit_norm": sequential(keras.Input((6, 4)), layers.UnitNormalization(), layers.SimpleRNN(4)),
    "channels_first": sequential(
        keras.Input((3, 2, 7, 6)),
        *each(layers.ZeroPadding2D(1, **FIRST), layers.MaxPooling2D(2, **FIRST), layers.Flatten(**FIRST)),
        layers.LSTM(4),
    ),
    "embedding": sequential(
        keras.Input((9,), dtype="int32"), layers.Embedding(20, 6), layers.Conv1D(5, 3), layers.MaxPooling1D(2),
        layers.Bidirectional(layers.LSTM(4)), layers.Dropout(0.5), layers.Dense(1, activation="sigmoid"),
    ),
    "global": sequential(
        keras.Input((9, 4)), layers.Bidirectional(layers.GRU(3, return_sequences=True)), layers.GlobalMaxPooling1D()
    ),
    "kept_dims": sequential(
        keras.Input((9, 4)), layers.LSTM(3, return_sequences=True), layers.GlobalAveragePooling1D(keepdims=True)
    ),
    "speech": sequential(
        keras.Input((12, 8, 1)),
        layers.Conv2D(3, (3, 3), strides=(1, 2), padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(max_value=20.0),
        layers.Reshape((12, 12)),
        layers.Bidirectional(layers.GRU(4, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(3, activation="softmax")),
    ),
    "two_branches": two_branches,
    "nested": nested,
}  # fmt: skip


def drawn(model):
    """The model with random weights, and inputs of two samples."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        numbers = rng.normal(size=variable.shape) * 0.4
        variable.assign(np.abs(numbers) + 0.5 if variable.name == "moving_variance" else numbers)
    (spec,) = model.inputs
    shape = (2, *spec.shape[1:])
    return rng.integers(0, 20, shape) if spec.dtype == "int32" else rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("form", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("name", MODELS)
def test_model_file_matches(name, form, tmp_path):
    model = MODELS[name]()
    x, path, options = drawn(model), tmp_path / f"model{form}", {}
    if form == ".weights.h5":
        model.save_weights(path)
        options["architecture"] = tmp_path / "model.json"
        options["architecture"].write_text(model.to_json())
    else:
        model.save(path)

    report = rnncheck.verify(path, x, **options)
    recorded = rnncheck.compare(path, x, np.asarray(model(x, training=False)), **options)

    assert report.verdict is Verdict.MATCH
    assert recorded.verdict is Verdict.MATCH
    names = [layer.name for layer in model.layers if isinstance(layer, layers.RNN)]
    assert {*names} <= {row.layer for row in report.entries[0].rows}
