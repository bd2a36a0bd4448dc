"""Record small models under Keras 2: their files, and what `predict` gives. experiments/keras2.py runs it.

    python -I experiments/keras2_record.py FOLDER

It needs TensorFlow 2.12 to 2.15 and what that brings, nothing of this project. Every model gets random weights and
biases that depend on SEED and the model's name only: two versions record the same model with the same inputs. FOLDER
gets

- NAME.h5 from TensorFlow 2.12, NAME.keras from later versions, as written before the first call; both formats for the
  models in BOTH_FORMATS only, because all of them would be too large;
- NAME.npz: the inputs by input name, the outputs as output_0, output_1, ..., and as states/LAYER the output
  (N, T, M) at each step, in the order of processing, of each recurrent layer that is not inside another model: its h,
  but where a mask hides the step what Keras gives there. LAYER is BIDIRECTIONAL/LAYER inside a Bidirectional, and
  LAYER@2 for the second use of a layer. A second call has the same names after call_1/;
- recorded.json: versions, seed, sizes, and for each model how it was made, its files, calls, inputs and outputs.
"""

from __future__ import annotations

import json
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Build = Callable[[Any], Any]

SEED = 20231
# Samples, steps, features, units, outputs, and the number of words of an Embedding: pairwise different.
N, T, D, M, K, WORDS = 7, 5, 4, 6, 2, 9
# (N, T), one kind of row each: no mask, right padding, left padding, holes, fully masked, both ends, one step.
MASK = np.array(
    [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1],
        [1, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 1, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ],
    bool,
)
BOTH_FORMATS = ("lstm", "nested_functional")


def chain(keras: Any, *layers: Any) -> Any:
    """Return a Sequential model of `layers` on inputs (N, T, D)."""
    return keras.Sequential([keras.Input((T, D)), *layers])


def functional(keras: Any, *layers: Any) -> Any:
    """Return a functional model of `layers`, one after the other, on inputs (N, T, D)."""
    inputs = outputs = keras.Input((T, D))
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def simple_rnn(keras: Any) -> Any:
    """SimpleRNN, Dense; Sequential."""
    return chain(keras, keras.layers.SimpleRNN(M), keras.layers.Dense(K))


def lstm(keras: Any) -> Any:
    """LSTM, Dense; Sequential."""
    return chain(keras, keras.layers.LSTM(M), keras.layers.Dense(K))


def gru(keras: Any) -> Any:
    """GRU with reset_after=True, Dense; Sequential without Input, built afterwards."""
    model = keras.Sequential([keras.layers.GRU(M, reset_after=True), keras.layers.Dense(K)])
    model.build((None, T, D))
    return model


def gru_reset_before(keras: Any) -> Any:
    """GRU with reset_after=False, Dense; Sequential with input_shape."""
    first = keras.layers.GRU(M, reset_after=False, input_shape=(T, D))
    return keras.Sequential([first, keras.layers.Dense(K)])


def lstm_hard_sigmoid(keras: Any) -> Any:
    """LSTM with recurrent_activation hard_sigmoid, here 0.2x + 0.5; functional."""
    return functional(keras, keras.layers.LSTM(M, recurrent_activation="hard_sigmoid", return_sequences=True))


def gru_hard_sigmoid(keras: Any) -> Any:
    """GRU with recurrent_activation hard_sigmoid, here 0.2x + 0.5; functional."""
    return functional(keras, keras.layers.GRU(M, recurrent_activation="hard_sigmoid", return_sequences=True))


def lstm_go_backwards(keras: Any) -> Any:
    """LSTM with go_backwards and return_sequences, in float64; functional."""
    inputs = keras.Input((T, D), dtype="float64")
    layer = keras.layers.LSTM(M, go_backwards=True, return_sequences=True, dtype="float64")
    return keras.Model(inputs, layer(inputs))


def lstm_options(keras: Any) -> Any:
    """LSTM: no bias, unroll, softsign, dropout. LSTM: regularizer, constraint, which act in training; functional."""
    layers = keras.layers
    first = layers.LSTM(M, activation="softsign", use_bias=False, unroll=True, dropout=0.25, return_sequences=True)
    second = layers.LSTM(M + 2, unit_forget_bias=False, kernel_regularizer="l2", recurrent_constraint="unit_norm")
    return functional(keras, first, second)


def lstm_mixed_float16(keras: Any) -> Any:
    """LSTM and Dense with dtype policy mixed_float16; functional."""
    policy = keras.mixed_precision.Policy("mixed_float16")
    return functional(keras, keras.layers.LSTM(M, dtype=policy), keras.layers.Dense(K, dtype="mixed_float16"))


def time_distributed(keras: Any) -> Any:
    """SimpleRNN with return_sequences, TimeDistributed(Dense); functional."""
    sequence = keras.layers.SimpleRNN(M, return_sequences=True)
    return functional(keras, sequence, keras.layers.TimeDistributed(keras.layers.Dense(K, "tanh")))


def bidirectional_concat(keras: Any) -> Any:
    """Bidirectional(LSTM) with merge_mode concat and return_sequences; Sequential."""
    return chain(keras, keras.layers.Bidirectional(keras.layers.LSTM(M, return_sequences=True), merge_mode="concat"))


def bidirectional_merges(keras: Any) -> Any:
    """Masking, Bidirectional(LSTM, GRU, SimpleRNN) with merge_mode sum, mul, ave and return_sequences; functional."""
    layers = keras.layers
    inner = [(layers.LSTM, "sum"), (layers.GRU, "mul"), (layers.SimpleRNN, "ave")]
    merges = [layers.Bidirectional(kind(M, return_sequences=True), merge_mode=mode) for kind, mode in inner]
    return functional(keras, layers.Masking(), *merges)


def bidirectional_none(keras: Any) -> Any:
    """Bidirectional(LSTM) with merge_mode None, return_sequences: forward, backward; functional."""
    inner = keras.layers.LSTM(M, return_sequences=True)
    return functional(keras, keras.layers.Bidirectional(inner, merge_mode=None))


def bidirectional_states(keras: Any) -> Any:
    """Bidirectional(GRU, LSTM) with return_state, different units: output, forward h, backward h, c; functional."""
    layers = keras.layers
    backward = layers.LSTM(M + 2, go_backwards=True, return_state=True)
    return functional(keras, layers.Bidirectional(layers.GRU(M, return_state=True), backward_layer=backward))


def rnn_cells(keras: Any) -> Any:
    """RNN(SimpleRNNCell), RNN(LSTMCell), RNN(StackedRNNCells([GRUCell, LSTMCell])) with go_backwards; Sequential."""
    layers = keras.layers
    stacked = layers.StackedRNNCells([layers.GRUCell(M), layers.LSTMCell(M + 2)])
    return chain(
        keras,
        layers.RNN(layers.SimpleRNNCell(3), return_sequences=True),
        layers.RNN(layers.LSTMCell(M), return_sequences=True),
        layers.RNN(stacked, go_backwards=True, return_sequences=True),
    )


def rnn_stacked_cells(keras: Any) -> Any:
    """RNN([LSTMCell, GRUCell]) with return_sequences and return_state: output, LSTM h, c, GRU h; functional."""
    layers = keras.layers
    inputs = keras.Input((T, D))
    cells = [layers.LSTMCell(M), layers.GRUCell(M + 2)]
    outputs, lowest, last = layers.RNN(cells, return_sequences=True, return_state=True)(inputs)
    return keras.Model(inputs, [outputs, *lowest, last])


def embedding_lstm(keras: Any) -> Any:
    """Embedding with mask_zero, LSTM, Dense; Sequential on integers (N, T), compiled and trained for one step."""
    layers = keras.layers
    embedding = layers.Embedding(WORDS, D, mask_zero=True, input_length=T)
    model = keras.Sequential([embedding, layers.LSTM(M), layers.Dense(K, "sigmoid")])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def masking_gru(keras: Any) -> Any:
    """Masking, GRU with zero_output_for_mask, GRU, GlobalAveragePooling1D, 0/0 where all is masked; functional."""
    layers = keras.layers
    inputs = keras.Input((T, D))
    first = layers.GRU(M, return_sequences=True, zero_output_for_mask=True)(layers.Masking()(inputs))
    second = layers.GRU(M + 2, return_sequences=True)(first)
    return keras.Model(inputs, [second, layers.GlobalAveragePooling1D()(second)])


def given_mask_and_states(keras: Any) -> Any:
    """LSTM with return_state on four inputs: sequence, mask= (N, T), initial_state= h and c (N, M); functional."""
    inputs, mask = keras.Input((T, D)), keras.Input((T,), dtype="bool")
    states = [keras.Input((M,)), keras.Input((M,))]
    outputs = keras.layers.LSTM(M, return_state=True)(inputs, mask=mask, initial_state=states)
    return keras.Model([inputs, mask, *states], outputs)


def conv_lstm1d(keras: Any) -> Any:
    """ConvLSTM1D, whose recurrent_activation is hard_sigmoid by default; functional."""
    inputs = keras.Input((T, D, 2))
    return keras.Model(inputs, keras.layers.ConvLSTM1D(3, 2, return_sequences=True)(inputs))


def conv_lstm2d(keras: Any) -> Any:
    """ConvLSTM2D with padding same and recurrent_activation sigmoid; functional."""
    inputs = keras.Input((T, D, 3, 2))
    layer = keras.layers.ConvLSTM2D(3, (3, 2), padding="same", recurrent_activation="sigmoid")
    return keras.Model(inputs, layer(inputs))


def encoder_decoder(keras: Any) -> Any:
    """LSTM encoder; LSTM decoder on an input (N, 8, 3) from its h, c; Attention, Concatenate, Dense; functional."""
    layers = keras.layers
    source, target = keras.Input((T, D), name="source"), keras.Input((8, 3), name="target")
    encoded, h, c = layers.LSTM(M, return_sequences=True, return_state=True, name="encoder")(source)
    decoded = layers.LSTM(M, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    attended = layers.Attention()([decoded, encoded])
    return keras.Model([source, target], layers.Dense(K, "softmax")(layers.Concatenate()([decoded, attended])))


def shared_lstm(keras: Any) -> Any:
    """One LSTM on two inputs, merged by Subtract and Concatenate: two outputs; functional."""
    layers = keras.layers
    left, right = keras.Input((T, D), name="left"), keras.Input((8, D), name="right")
    shared = layers.LSTM(M)
    states = [shared(left), shared(right)]
    return keras.Model([left, right], [layers.Subtract()(states), layers.Concatenate()(states)])


def stateful_lstm(keras: Any) -> Any:
    """LSTM with stateful and a batch of N, Dense; Sequential, called twice."""
    inputs = keras.Input(batch_shape=(N, T, D))
    return keras.Sequential([inputs, keras.layers.LSTM(M, stateful=True), keras.layers.Dense(K)])


def nested_sequential(keras: Any) -> Any:
    """Sequential that holds a Sequential (LSTM, Dense) and a GRU."""
    layers = keras.layers
    inner = keras.Sequential([layers.LSTM(M, return_sequences=True), layers.Dense(3)], name="inner")
    return chain(keras, inner, layers.GRU(M + 2))


def nested_functional(keras: Any) -> Any:
    """Functional model that uses a functional model (GRU, Dense) twice, and Average; functional."""
    layers = keras.layers
    inner_inputs = keras.Input((T, D))
    inner = keras.Model(inner_inputs, layers.Dense(3)(layers.GRU(M)(inner_inputs)), name="inner")
    left, right = keras.Input((T, D)), keras.Input((T, D))
    return keras.Model([left, right], layers.Average()([inner(left), inner(right)]))


def convolution_norms(keras: Any) -> Any:
    """Conv1D, MaxPooling1D, BatchNormalization, LSTM, LayerNormalization, Dense; Sequential."""
    layers = keras.layers
    return chain(
        keras,
        layers.Conv1D(3, 2, padding="causal", activation="relu"),
        layers.MaxPooling1D(2),
        layers.BatchNormalization(),
        layers.LSTM(M, return_sequences=True),
        layers.LayerNormalization(),
        layers.Dense(K),
    )


def activation_layers(keras: Any) -> Any:
    """The layers without recurrence whose configuration changed since, around a SimpleRNN; Sequential."""
    layers = keras.layers
    return chain(
        keras,
        layers.SpatialDropout1D(0.5),
        layers.SimpleRNN(M, return_sequences=True),
        layers.LeakyReLU(0.25),
        layers.PReLU(shared_axes=[1]),
        layers.ELU(0.5),
        layers.Permute((2, 1)),
        layers.Reshape((-1, 3)),
        layers.Softmax(),
        layers.AveragePooling1D(2),
        layers.ReLU(max_value=0.5, negative_slope=0.125, threshold=0.0625),
        layers.Flatten(),
        layers.Activation("gelu"),
    )


MODELS: tuple[Build, ...] = (
    simple_rnn,
    lstm,
    gru,
    gru_reset_before,
    lstm_hard_sigmoid,
    gru_hard_sigmoid,
    lstm_go_backwards,
    lstm_options,
    lstm_mixed_float16,
    time_distributed,
    bidirectional_concat,
    bidirectional_merges,
    bidirectional_none,
    bidirectional_states,
    rnn_cells,
    rnn_stacked_cells,
    embedding_lstm,
    masking_gru,
    given_mask_and_states,
    conv_lstm1d,
    conv_lstm2d,
    encoder_decoder,
    shared_lstm,
    stateful_lstm,
    nested_sequential,
    nested_functional,
    convolution_norms,
    activation_layers,
)


def randomize(model: Any, random: np.random.Generator) -> None:
    """Give `model` random weights and biases; scales near 1, variances positive."""
    for weight in model.weights:
        values = random.normal(0, 0.5, weight.shape)
        if "variance" in weight.name:
            values = np.exp(values)
        elif "gamma" in weight.name:
            values += 1
        weight.assign(values.astype(weight.dtype.name))


def sample(tensor: Any, random: np.random.Generator, *, masked: bool) -> Any:
    """Return values for the input `tensor`, with zeros where MASK says so when `masked`.

    They are float32 numbers whatever the dtype, because Keras 2 rounds what `predict` is given to float32.
    """
    shape = (N, *tensor.shape[1:])
    if tensor.dtype.name == "bool":
        return MASK
    if len(shape) == 2 and masked:
        return np.where(MASK, random.integers(1, WORDS, shape), 0).astype(tensor.dtype.name)
    values = random.normal(0, 1, shape).astype(np.float32).astype(tensor.dtype.name)
    return np.where(MASK[..., np.newaxis], values, 0).astype(values.dtype) if masked else values


def calls(keras: Any, model: Any, random: np.random.Generator) -> list[dict[str, Any]]:
    """Return the inputs of each call, by input name: two calls for a stateful model, one for others."""
    masked = any(isinstance(layer, keras.layers.Masking | keras.layers.Embedding) for layer in model.layers)
    number = 1 + model.stateful
    pairs = list(zip(model.input_names, model.inputs, strict=True))
    return [{name: sample(tensor, random, masked=masked) for name, tensor in pairs} for _ in range(number)]


def predict(model: Any, inputs: dict[str, Any]) -> list[Any]:
    """Return the outputs of `model`, in order."""
    arrays = list(inputs.values())
    outputs = model.predict(arrays if len(arrays) > 1 else arrays[0], batch_size=N, verbose=0)
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def recurrent_parts(keras: Any, layer: Any) -> list[tuple[str, Any]]:
    """Return `layer` with its name if it is recurrent, the two layers of a Bidirectional, or nothing."""
    if isinstance(layer, keras.layers.Bidirectional):
        return [(f"{layer.name}/{part.name}", part) for part in (layer.forward_layer, layer.backward_layer)]
    return [(layer.name, layer)] if isinstance(layer, keras.layers.RNN) else []


def probes(keras: Any, model: Any) -> Iterator[tuple[str, Any]]:
    """Yield, for each use of each recurrent layer of `model`, its name and a model of all its states h."""
    for layer in model.layers:
        for name, part in recurrent_parts(keras, layer):
            for use, node in enumerate(layer.inbound_nodes, 1):
                options = {**part.get_config(), "return_sequences": True, "return_state": False}
                copy = type(part).from_config(options)
                probe = keras.Model(model.inputs, copy(*node.call_args, **node.call_kwargs))
                copy.set_weights(part.get_weights())
                yield (name if use == 1 else f"{name}@{use}"), probe


def record_calls(keras: Any, model: Any, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return inputs, outputs and states of each call, by the names that the .npz file uses."""
    models = [("output", model), *((f"states/{name}", probe) for name, probe in probes(keras, model))]
    recorded: dict[str, Any] = {}
    for number, given in enumerate(inputs):
        prefix = f"call_{number}/" if number else ""
        recorded.update({f"{prefix}{name}": values for name, values in given.items()})
        for name, observed in models:
            outputs = predict(observed, given)
            names = [f"output_{k}" for k in range(len(outputs))] if name == "output" else [name]
            recorded.update({f"{prefix}{key}": values for key, values in zip(names, outputs, strict=True)})
    return recorded


def save(model: Any, folder: Path, name: str) -> list[str]:
    """Write the model's files and return their names."""
    # In TensorFlow 2.12 the new format has a name of its own: without it, a file called .keras is HDF5.
    first = version("keras").startswith("2.12.")
    formats = {".h5": "h5", ".keras": "keras_v3" if first else "keras"}
    endings = list(formats) if name in BOTH_FORMATS else [".h5" if first else ".keras"]
    for ending in endings:
        model.save(folder / f"{name}{ending}", save_format=formats[ending])
    return [f"{name}{ending}" for ending in endings]


def record(keras: Any, build: Build, folder: Path) -> dict[str, Any]:
    """Make one model, write its files, and return what recorded.json says about it."""
    keras.backend.clear_session()
    name = build.__name__
    random = np.random.default_rng([SEED, *name.encode()])
    model = build(keras)
    randomize(model, random)
    inputs = calls(keras, model, random)
    if model.optimizer is not None:
        model.fit(*inputs[0].values(), random.normal(0, 1, (N, K)), batch_size=N, shuffle=False, verbose=0)
    files = save(model, folder, name)
    recorded = record_calls(keras, model, inputs)
    np.savez_compressed(folder / f"{name}.npz", **recorded)
    return {
        "made": build.__doc__,
        "files": [*files, f"{name}.npz"],
        "calls": len(inputs),
        "inputs": {key: list(values.shape) for key, values in inputs[0].items()},
        "outputs": [list(recorded[key].shape) for key in recorded if key.startswith("output_")],
        "states": [key.removeprefix("states/") for key in recorded if key.startswith("states/")],
        "parameters": model.count_params(),
    }


def as_json(facts: dict[str, Any]) -> str:
    """Return `facts` as JSON with one line for each entry, and for each model."""
    models = ",\n".join(f"  {json.dumps(name)}: {json.dumps(model)}" for name, model in facts["models"].items())
    rest = [f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in facts.items() if key != "models"]
    return "{\n" + "".join(rest) + ' "models": {\n' + models + "\n }\n}\n"


def main() -> None:
    """Record every model to the folder that the command line names."""
    import tensorflow
    from tensorflow import keras

    tensorflow.get_logger().setLevel("ERROR")
    warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file", UserWarning)
    folder = Path(sys.argv[1])
    facts = {
        "command": "make fixtures",
        "versions": {name: version(name) for name in ("keras", "tensorflow-cpu", "numpy", "h5py")}
        | {"python": platform.python_version()},
        "seed": f"numpy.random.default_rng([{SEED}, *name.encode()]); weights first, then inputs",
        "sizes": {"N": N, "T": T, "D": D, "M": M, "K": K, "words": WORDS},
        "models": {build.__name__: record(keras, build, folder) for build in MODELS},
    }
    (folder / "recorded.json").write_text(as_json(facts))


if __name__ == "__main__":
    main()
