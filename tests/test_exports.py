"""Exported files, held against the model that they come from."""

import re
import subprocess
import sys
import warnings
from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest
import torch
from keras import layers
from onnx_nodes import graph_of, make_node
from reference import make_inputs, make_network

import rnncheck
from rnncheck import InputError, UnsupportedError, Verdict
from rnncheck.frameworks import exports
from rnncheck.frameworks.exports import RUNTIMES, Slot, matched, told
from rnncheck.frameworks.keras.session import quiet_framework
from rnncheck.jobs import uses
from rnncheck.jobs.uses import uses_of
from rnncheck.network import Activation, InputSpec, Layer, Network, Tensor

T, D, M, K = 7, 4, 5, 2
WAYS = ["", "the same again", "1 sample", "2 samples", "5 samples", "1 step", "16 steps"]


def weights(rng, *shape):
    return rng.normal(0.0, 0.5, shape).astype(np.float32)


def built(*stack, shape=(None, D), batch=None):
    model = keras.Sequential([keras.Input(shape, batch_size=batch, name="x"), *stack])
    rng = np.random.default_rng(0)
    spread = [0.5 if len(each) < 10 or each.ndim < 2 else len(each) ** -0.5 for each in model.get_weights()]
    model.set_weights([rng.normal(0.0, s, w.shape) for s, w in zip(spread, model.get_weights(), strict=True)])
    return model


def exported(model, path, form="onnx"):
    with quiet_framework():
        steps = model.input_shape[1] or T
        model(np.zeros((model.input_shape[0] or 1, steps, D), np.float32))
        model.export(path, format=form, verbose=False)
    return path


def ported(change, folder, kind="LSTM"):
    """Return a model of Keras of one layer and a Dense, and an ONNX file of it in which something is changed."""
    model = built(getattr(layers, kind)(M, return_sequences=True), layers.Dense(K, name="y"))
    kernel, recurrent, bias, w, b = (each.astype(np.float32) for each in model.get_weights())
    order = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2)}[kind]

    def blocks(weight):
        parts = np.split(weight, len(order), axis=-1)
        return np.concatenate([parts[gate] for gate in order], axis=-1)

    biases = np.concatenate([blocks(each) for each in (bias if bias.ndim == 2 else [bias, 0 * bias])])
    held = {"W": blocks(kernel).T[None], "R": blocks(recurrent).T[None], "B": biases[None], "w": w, "b": b}
    held |= {"one": np.array([1]), "zero": np.array([0])}
    options = {"hidden_size": M, **({"linear_before_reset": 1} if kind == "GRU" else {})}
    nodes = [
        ("Transpose", "x", "turned", {"perm": [1, 0, 2]}), (kind, "turned W R B", "all", options),
        ("Squeeze", "all one", "steps", {}), ("Transpose", "steps", "back", {"perm": [1, 0, 2]}),
        ("MatMul", "back w", "p", {}), ("Add", "p b", "y", {}),
    ]  # fmt: skip
    change(nodes, held)
    path = folder / "port.onnx"
    onnx.save(graph_of(nodes, {"x": ["n", "t", D]}, {"y": None}, held), path)
    return model, path


def of(report, path):
    return {entry.way: entry for entry in report.entries if entry.backend == path.name}


def causes(entry):
    if entry.diagnosis is None:
        return []
    return [name for each in entry.diagnosis.explanations for name in each.faults]


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_export_of_keras_matches_in_every_way(kind, tmp_path):
    model = built(getattr(layers, kind)(M), layers.Dense(K))
    path = exported(model, tmp_path / "model.onnx")

    report = rnncheck.verify(model, against=[path])

    assert report.verdict is Verdict.MATCH, report
    assert [entry.way for entry in report.entries if entry.backend == "model.onnx"] == WAYS
    assert report.entries[0].backend == "tensorflow"
    assert report.differences[0].backends == ("tensorflow", "model.onnx")


def in_openvino(path):
    """Let OpenVINO convert an ONNX file to its own format, in a process of its own."""
    converted = path.with_suffix(".xml")
    code = "import sys, openvino as ov; ov.save_model(ov.Core().read_model(sys.argv[1]), sys.argv[2], False)"
    subprocess.run([sys.executable, "-c", code, path, converted], check=True, capture_output=True)
    return converted


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_openvino_runs_its_own_files(kind, tmp_path):
    model, path = ported(lambda nodes, held: None, tmp_path, kind)
    converted = in_openvino(path)

    report = rnncheck.verify(model, against=[converted])

    assert {entry.verdict for entry in of(report, converted).values()} == {Verdict.MATCH}
    assert list(of(report, converted)) == [*WAYS[:2], "after a reset", *WAYS[2:]]
    assert {each.how != "" for each in of(report, converted)[""].weights} == {True}


def test_what_openvino_ignores_of_an_onnx_file_is_named(tmp_path, rng):
    model, _ = make_node(rng, "LSTM", peepholes=True)
    onnx.save(model, steps_first := tmp_path / "steps_first.onnx")
    turned = onnx.helper.make_node("Transpose", ["x"], ["X"], perm=[1, 0, 2])
    last = onnx.helper.make_node("Squeeze", ["Y_h", "zero"], ["h"])
    model.graph.node.insert(0, turned)
    model.graph.node.append(last)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "zero"))
    del model.graph.input[:], model.graph.output[:]
    floats = onnx.TensorProto.FLOAT
    model.graph.input.append(onnx.helper.make_tensor_value_info("x", floats, [None, 6, 4]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("h", floats, [None, 5]))
    onnx.save(model, path := tmp_path / "model.onnx")
    converted = in_openvino(path)

    report = rnncheck.verify(path, against=[converted])

    assert report.entries[0].verdict is Verdict.MATCH
    assert of(report, converted)[""].verdict is Verdict.MISMATCH
    assert causes(of(report, converted)[""]) == ["peepholes_ignored"]
    with pytest.raises(InputError, match="an ONNX file of which an input or an output has the steps first"):
        rnncheck.verify(steps_first, against=[converted])
    with pytest.raises(InputError, match="a PyTorch module of which an input or an output has the steps first"):
        rnncheck.verify(torch.nn.GRU(D, M), against=[converted])


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_port_that_is_right_matches(kind, tmp_path):
    model, path = ported(lambda nodes, held: None, tmp_path, kind)

    assert rnncheck.verify(model, against=[path]).verdict is Verdict.MATCH


def unturned_gates(nodes, held):
    for name in ("W", "R"):
        i, o, f, c = np.split(held[name], 4, axis=1)
        held[name] = np.concatenate([i, f, c, o], axis=1)
    i, o, f, c, *recurrent = np.split(held["B"], 8, axis=1)
    held["B"] = np.concatenate([i, f, c, o, *recurrent], axis=1)


def transposed(nodes, held):
    held["R"] = np.concatenate([each.swapaxes(1, 2) for each in np.split(held["R"], 4, axis=1)], axis=1)


def without_bias(nodes, held):
    held["B"] = np.zeros_like(held["B"])


def backwards(nodes, held):
    nodes[1] = (*nodes[1][:3], {**nodes[1][3], "direction": "reverse"})


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (unturned_gates, "gate_order_iofc"),
        (transposed, "recurrent_kernel_transposed"),
        (without_bias, "bias_dropped"),
        (backwards, "time_reversed_in_order"),
    ],
)
def test_wrong_port_is_caught_and_its_cause_named(change, cause, tmp_path):
    model, path = ported(change, tmp_path)

    report = rnncheck.verify(model, against=[path])

    assert report.entries[0].verdict is Verdict.MATCH
    assert of(report, path)[""].verdict is Verdict.MISMATCH
    assert cause in causes(of(report, path)[""])


def test_network_of_a_wrong_port_is_right_about_itself(tmp_path):
    _, path = ported(unturned_gates, tmp_path)

    assert rnncheck.verify(path).verdict is Verdict.MATCH


def test_state_that_was_written_into_the_export_is_told(tmp_path):
    model = built(layers.LSTM(M, return_sequences=True, stateful=True), shape=(T, D), batch=3)
    model.layers[0].states[0].assign(np.ones((3, M)))
    path = exported(model, tmp_path / "model.onnx")
    model.layers[0].reset_states()

    report = rnncheck.verify(model, against=[path])

    assert of(report, path)[""].verdict is Verdict.MISMATCH
    assert "the export has a state written into it" in " ".join(str(report).split())


class Last(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.RNN(D, M, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0][:, -1]


def test_export_that_is_unrolled_for_the_length_of_its_example_is_told(tmp_path):
    torch.manual_seed(0)
    module, path, axis = Last().eval(), tmp_path / "model.onnx", torch.export.Dim.AUTO
    with warnings.catch_warnings(action="ignore"):
        axes = {"x": {0: axis, 1: axis}}
        torch.onnx.export(module, (torch.zeros(2, T, D),), path, dynamo=True, verbose=False, dynamic_shapes=axes)

    report = rnncheck.verify(module, against=[path])

    assert report.entries[0].backend == "PyTorch"
    assert "only some steps are computed: the first 7 of 12" in str(report)
    plain = of(report, path)[""]
    assert list(plain.refused) == ["1 step"]
    assert f"it refuses 1 step: {plain.refused['1 step']}" in plain.notes
    assert plain.to_dict()["refused"] == plain.refused
    assert re.search(r"^Last, 1 step +- +refused +-$", str(report), re.MULTILINE)


def test_litert_matches_where_the_loop_is_unrolled_and_says_what_it_lacks_where_not(tmp_path):
    right = built(layers.LSTM(M, unroll=True), shape=(T, D))
    path = exported(right, tmp_path / "right.tflite", "litert")
    wrong = exported(built(layers.LSTM(M), shape=(T, D)), tmp_path / "wrong.tflite", "litert")

    report = rnncheck.verify(right, against=[path, wrong])

    assert {entry.verdict for entry in of(report, path).values()} == {Verdict.MATCH}
    assert list(of(report, path)) == [*WAYS[:2], "after a reset", *WAYS[2:5]]
    assert "LiteRT lacks: export a model whose layers have unroll=True" in of(report, wrong)[""].rows[0].detail
    assert report.exit_code == 2


FUSED = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np, tensorflow as tf, tf_keras as keras
rng = np.random.default_rng(0)
x = keras.Input((7, 4), batch_size=1, name="x")
model = keras.Model(x, keras.layers.LSTM(5, return_sequences=True)(x))
model.set_weights([rng.normal(0, 0.5, each.shape) for each in model.get_weights()])
model.save(sys.argv[1])
open(sys.argv[2], "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([rng.normal(size=(1, 7, 4)).astype("float32")] for _ in range(50))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
open(sys.argv[3], "wb").write(converter.convert())
"""


@pytest.mark.long
def test_fused_lstm_of_litert_that_keeps_its_state_is_told(tmp_path):
    source, path, in_8_bits = (tmp_path / name for name in ("model.h5", "model.tflite", "int8.tflite"))
    subprocess.run([sys.executable, "-c", FUSED, source, path, in_8_bits], check=True, capture_output=True)

    report = rnncheck.verify(source, samples=1, against=[path, in_8_bits])

    found, rounded = of(report, path), of(report, in_8_bits)
    assert rounded[""].verdict in {Verdict.MATCH, Verdict.UNDECIDABLE}
    assert [(each.how, each.form) for each in rounded[""].weights] == [
        ("transposed, split into 4", "int8"), ("transposed, split into 4", "int8"), ("split into 4", "int32"),
    ]  # fmt: skip
    assert rounded["the same again"].verdict is Verdict.MISMATCH
    assert [found[way].verdict for way in WAYS[:2]] == [Verdict.MATCH, Verdict.MISMATCH]
    assert causes(found["the same again"]) == ["state_left_by_earlier_run"]
    assert found["after a reset"].verdict is Verdict.MATCH


ON_TORCH = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
rng = np.random.default_rng(0)
model = keras.Sequential([keras.Input((None, 4), name="x"), keras.layers.GRU(5), keras.layers.Dense(2)])
model.set_weights([rng.normal(0, 0.5, each.shape) for each in model.get_weights()])
model.save(sys.argv[1])
model.predict(np.zeros((1, 7, 4), "float32"), verbose=0)
model.export(sys.argv[2], format="onnx", verbose=False)
"""


@pytest.mark.long
def test_export_of_keras_on_torch_that_returns_the_first_step_is_told(tmp_path):
    source, path = tmp_path / "model.keras", tmp_path / "model.onnx"
    subprocess.run([sys.executable, "-c", ON_TORCH, source, path], check=True, capture_output=True)

    report = rnncheck.verify(source, against=[path])

    assert of(report, path)[""].verdict is Verdict.MISMATCH
    assert "only some steps are computed: the first of 12" in str(report)


@pytest.mark.long
def test_projection_that_the_exporter_loses_is_refused(tmp_path):
    module, path = torch.nn.LSTM(D, M, proj_size=3, batch_first=True), tmp_path / "model.onnx"
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(module, (torch.zeros(2, T, D),), path, dynamo=True, verbose=False)

    lengths, plain = (of(rnncheck.verify(module, steps=steps, against=[path]), path)[""] for steps in (T + 1, T))

    assert lengths.rows[0].detail.startswith("its input 'input' is fixed to (7, 4) for a sample, and got (8, 4)")
    assert plain.verdict is Verdict.ERROR
    assert plain.notes[-1].endswith("lstm/kernel, lstm/recurrent_kernel, lstm/projection, lstm/bias")


def test_batch_that_the_export_fixes_is_met(tmp_path):
    model, path = ported(lambda nodes, held: None, tmp_path)
    file = onnx.load(path)
    file.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(file, path)

    report, odd = (rnncheck.verify(model, samples=count, against=[path]) for count in (4, 3))

    assert of(report, path)[""].verdict is Verdict.MATCH, report
    assert "it refuses 1 sample: its batch is fixed to 2, and 1 is no multiple of it" in of(report, path)[""].notes
    assert of(odd, path)[""].rows[0].detail == "its batch is fixed to 2, and 3 is no multiple of it"


CRASHES = """
def describe(path):
    return {"inputs": [("x", [None, None, 4], "float32")], "outputs": [("y", [None, None, 2], "float32")]}

def use(path, calls):
    import os, onnxruntime
    if any(len(call["x"]) == 5 for call in calls):
        os._exit(7)
    session = onnxruntime.InferenceSession(path)
    return [dict(y=session.run(["y"], call)[0]) for call in calls]
"""


def test_use_that_crashes_the_runtime_does_not_take_the_others(tmp_path, monkeypatch):
    model, path = ported(lambda nodes, held: None, tmp_path)
    (tmp_path / "session.py").write_text(CRASHES)
    monkeypatch.setitem(RUNTIMES, ".onnx", RUNTIMES[".onnx"]._replace(file=tmp_path / "session.py"))

    report = rnncheck.verify(model, against=[path])

    assert report.verdict is Verdict.MATCH
    assert "it refuses 5 samples: ONNX Runtime: its process died with exit code 7" in of(report, path)[""].notes
    assert [way for way in WAYS if way not in of(report, path)] == ["5 samples"]
    assert any("what became of its weights is not known: " in note for note in of(report, path)[""].notes)


def test_inputs_are_fed_by_name_in_any_order(tmp_path):
    first, second = keras.Input((T, D), name="first"), keras.Input((T, D), name="second")
    both = layers.Concatenate()([layers.LSTM(M)(first), layers.LSTM(K)(second)])
    model = keras.Model([first, second], both)
    with quiet_framework():
        model([np.zeros((1, T, D), np.float32)] * 2)
        model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    file = onnx.load(tmp_path / "model.onnx")
    for node in file.graph.node:
        node.input[:] = ["renamed" if name == "first" else name for name in node.input]
    for given in file.graph.input:
        given.name = "renamed" if given.name == "first" else given.name
    onnx.save(file, tmp_path / "model.onnx")

    report = rnncheck.verify(model, against=[tmp_path / "model.onnx"])

    assert report.verdict is Verdict.MATCH, report
    assert "its input 'renamed' is taken for 'first', since the shapes agree" in report.entries[1].notes


# --- weights on the way ---


def in_8_bits(path, **options):
    """Let ONNX Runtime quantise a file."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantised = path.with_name("int8.onnx")
    quantize_dynamic(path, quantised, weight_type=QuantType.QInt8, **options)
    return quantised


def test_report_tells_what_became_of_each_weight(tmp_path):
    model, path = ported(lambda nodes, held: None, tmp_path)

    entry = of(rnncheck.verify(model, against=[path]), path)[""].to_dict()

    assert [(each["weight"], each["shape"], each["how"], each["held_in"]) for each in entry["weights"]] == [
        ("kernel", [D, 4 * M], "transposed, gates in the order i o f c", ["W"]),
        ("recurrent_kernel", [M, 4 * M], "transposed, gates in the order i o f c", ["R"]),
        ("bias", [4 * M], "gates in the order i o f c", ["B"]),
        ("kernel", [M, K], "as it is", ["w"]),
        ("bias", [K], "as it is", ["b"]),
    ]
    assert {each["form"] for each in entry["weights"]} == {""}


def test_weight_that_is_not_in_the_file_is_noted(tmp_path):
    model, path = ported(without_bias, tmp_path)

    found = of(rnncheck.verify(model, against=[path]), path)

    said = f"were not found in it, in no layout that was tried: {model.layers[0].name}/bias"
    assert said in " ".join(found[""].notes)
    assert not found["1 sample"].weights


@pytest.mark.few(3)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda nodes, held: None, None),
        (unturned_gates, "gate_order_iofc"),
        (transposed, "recurrent_kernel_transposed"),
        (without_bias, "bias_dropped"),
    ],
)
def test_8_bits_are_allowed_for_and_mistakes_are_not(change, cause, per_channel, tmp_path, monkeypatch):
    monkeypatch.setattr("test_exports.M", 64)
    model, path = ported(change, tmp_path)
    quantised = in_8_bits(path, per_channel=per_channel)

    report = rnncheck.verify(model, samples=4, steps=20, against=[quantised])

    found = of(report, quantised)
    # In one step, from a state of zeros, nothing is wrong with a transposed recurrent kernel.
    wrong = {way for way, entry in found.items() if entry.verdict is Verdict.MISMATCH}
    assert wrong | {"1 step"} == ({*WAYS[:-1], "24 steps"} if cause else {"1 step"})
    assert {each.verdict for each in found.values()} <= {Verdict.MATCH, Verdict.MISMATCH}
    assert not cause or cause in causes(found[""])
    assert "3 of the model's 5 weights are rounded there (3 in int8)" in " ".join(found[""].notes)
    assert "what meets these is rounded to 8 bits, too" in " ".join(str(report).split())


@pytest.mark.few(1)
@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
def test_export_that_computes_in_float16_is_held_against_that(wrong, tmp_path):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = built(layers.SimpleRNN(M, return_sequences=True), layers.Dense(K))
    right = model.get_weights()
    if wrong:
        model.set_weights([w if w.ndim > 1 else np.zeros_like(w) for w in right])
    path = exported(model, tmp_path / "model.onnx")
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)
    model.set_weights(right)

    found = of(rnncheck.verify(model, steps=20, against=[path]), path)

    assert {each.verdict for each in found.values()} == {Verdict.MISMATCH if wrong else Verdict.MATCH}
    assert f"({3 if wrong else 5} in float16)" in " ".join(found[""].notes)


def test_weights_that_are_only_stored_in_float16_are_computed_with_in_float32(tmp_path):
    model, path = ported(lambda nodes, held: None, tmp_path)
    file = onnx.load(path)
    for place, array in enumerate(file.graph.initializer):
        numbers = onnx.numpy_helper.to_array(array)
        if numbers.dtype == np.float32:
            cast = onnx.helper.make_node("Cast", [f"{array.name}_half"], [array.name], to=onnx.TensorProto.FLOAT)
            file.graph.node.insert(0, cast)
            half = onnx.numpy_helper.from_array(numbers.astype(np.float16), f"{array.name}_half")
            file.graph.initializer[place].CopyFrom(half)
    onnx.save(file, path)

    report = rnncheck.verify(model, against=[path])

    assert {entry.verdict for entry in of(report, path).values()} == {Verdict.MATCH}
    assert max(row.noise for row in of(report, path)[""].rows) < 1e-6


def test_inputs_that_are_integers_take_whole_numbers_alone():
    use = uses.Use("", ((np.float32([[1.0, 2.0]]),), (np.float32([[1.5, 2.0]]),)))
    slots = [Slot("x", (None, 2), "int8")]

    (fed,) = uses._fed(slots, use._replace(calls=use.calls[:1]))

    assert fed["x"].dtype == np.int8
    assert uses._fed(slots, use._replace(calls=use.calls[1:])) == (
        "its input 'x' takes int8; convert the model with inputs and outputs of float32"
    )


def test_show_tells_the_operators_and_where_the_weights_went(tmp_path, rnncheck_command):
    model, path = ported(lambda nodes, held: None, tmp_path, "GRU")
    model.save(source := tmp_path / "model.keras")

    done = rnncheck_command("show", source, "--against", path)

    assert done.code == 0
    assert "port.onnx: 2 Transpose, 1 GRU, 1 Squeeze, 1 MatMul, 1 Add" in done.out
    assert re.search(r"gru(_\d+)?/recurrent_kernel +5x15 +transposed +R", done.out)
    assert re.search(r"gru(_\d+)?/bias +2x15 +as it is +B", done.out)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_litert_in_fewer_digits(kind, tmp_path):
    import tensorflow as tf

    def inputs():
        for seed in range(50):
            yield [np.random.default_rng(seed).normal(size=(1, T, D)).astype(np.float32)]

    model = built(getattr(layers, kind)(64, unroll=True), layers.Dense(16), shape=(T, D))
    wrong = keras.models.clone_model(model)
    wrong.set_weights([w if w.ndim > 1 else 0.0 * w for w in model.get_weights()])
    x = np.random.default_rng(1).normal(size=(4, T, D)).astype(np.float32)
    everything = {
        "representative_dataset": inputs,
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
    }
    for name, options, verdicts in [
        ("float16", {"target_spec": {"supported_types": [tf.float16]}}, {Verdict.MATCH}),
        ("int8 weights", {}, {Verdict.MATCH, Verdict.UNDECIDABLE}),
        ("int8", everything, {Verdict.MATCH, Verdict.UNDECIDABLE}),
    ]:
        found = []
        for each in (model, wrong):
            path = tmp_path / "model.tflite"
            with quiet_framework():
                each.export(path, format="litert", verbose=False, optimizations=[tf.lite.Optimize.DEFAULT], **options)
            found.append(of(rnncheck.verify(model, x, against=[path]), path)[""])

        assert found[0].verdict in verdicts, name
        assert found[1].verdict is Verdict.MISMATCH, name
        assert {each.form for each in found[0].weights} & {"float16", "int8"}
        if name == "int8":  # no cause is looked for
            assert not causes(found[1])


# --- Keras' own exporters ---


def test_keras_exports_first_where_that_is_asked(tmp_path, rnncheck_command):
    model = built(layers.LSTM(M), layers.Dense(K))
    model.save(source := tmp_path / "model.keras")

    done = rnncheck_command("verify", source, "--export", "onnx")

    assert done.code == 0, done.out
    assert re.search(r"^case +tensorflow +exported.onnx +differ by$", done.out, re.MULTILINE)
    assert re.search(r"^model.keras, 1 step +- +match", done.out, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.long
def test_stateful_model_is_exported_from_its_start(tmp_path):
    model = built(layers.LSTM(M, return_sequences=True, stateful=True), shape=(None, D), batch=3)
    model.layers[0].states[0].assign(np.ones((3, M)))

    report = rnncheck.verify(model, export=["onnx", "litert"])

    found = [entry for entry in report.entries if entry.backend == "exported.onnx"]
    assert [entry.way for entry in found] == ["", "in two parts"]
    assert {entry.verdict for entry in found} == {Verdict.MISMATCH}  # the file forgets the state
    # LiteRT keeps it, and does not set it back.
    of_litert = {entry.way: entry for entry in report.entries if entry.backend == "exported.tflite"}
    assert {way: entry.verdict for way, entry in of_litert.items()} == {
        "": Verdict.MATCH, "after a reset": Verdict.MISMATCH, "in two parts": Verdict.MATCH,
    }  # fmt: skip


def test_model_that_keras_cannot_export_is_an_error_row(tmp_path, monkeypatch):
    model = built(layers.LSTM(M), layers.Dense(K))
    monkeypatch.setattr(exports, "_HERE", tmp_path)
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "exporter.py").write_text("def export(*given):\n    import tf2onnx_is_not_there\n")

    report = rnncheck.verify(model, export=["onnx"])

    assert [entry.verdict for entry in report.entries] == [Verdict.MATCH, Verdict.ERROR]
    assert report.entries[1].backend == "exported.onnx"
    assert "No module named 'tf2onnx_is_not_there'; expected a model that Keras can export to onnx" in (
        report.entries[1].rows[0].detail
    )
    assert told("ModuleNotFoundError: No module named 'tf2onnx'").endswith('Run: pip install "rnncheck[onnx-export]"')


# --- uses ---


def test_other_sizes_have_the_numbers_that_were_given():
    network = make_network(T=T, D=D, M=M, K=K)
    network = replace(network, inputs=(replace(network.inputs[0], shape=(None, D)),))
    (x,) = make_inputs(make_network(T=T, D=D, M=M, K=K), 3)

    found = {use.way: use.calls[0][0] for use in uses_of(network, [(x,)])}

    assert np.array_equal(found["1 sample"], x[:1])
    assert np.array_equal(found["5 samples"], np.concatenate([x, x[:2]]))
    assert np.array_equal(found["1 step"], x[:, :1])
    assert np.array_equal(found["11 steps"], np.concatenate([x, x[:, :4]], axis=1))


def test_sizes_that_the_model_does_not_take_are_not_tried():
    convolution = {
        "filters": 2, "kernel_size": (3,), "strides": (1,), "padding": "valid", "dilation_rate": (1,), "groups": 1,
        "activation": Activation("linear"), "data_format": "channels_last",
    }  # fmt: skip
    layer = Layer("conv", "Conv1D", (Tensor("x"),), convolution, {"kernel": np.ones((3, D, 2), np.float32)})
    network = Network("conv", (InputSpec("x", (None, D), "float32"),), (layer,), (Tensor("conv"),))
    x = np.zeros((3, T, D), np.float32)

    ways = [use.way for use in uses_of(network, [(x,)])]
    fixed = replace(network, inputs=(replace(network.inputs[0], samples=3),))

    assert ways == ["", "the same again", "1 sample", "2 samples", "5 samples", "11 steps"]
    assert [use.way for use in uses_of(fixed, [(x,)])] == ["", "the same again", "11 steps"]


def test_lengths_are_no_longer_than_the_steps():
    network = make_network(T=T, D=D, M=M, K=K)
    lengths = (replace(network.inputs[0], name="lengths", shape=(), dtype="int32"),)
    network = replace(network, inputs=(*lengths, replace(network.inputs[0], shape=(None, D))))

    found = {
        use.way: use.calls[0] for use in uses_of(network, [(np.array([1, 7, 3]), np.zeros((3, T, D), np.float32))])
    }

    assert list(found)[-2:] == ["1 step", "11 steps"]
    assert found["1 step"][0].tolist() == [1, 1, 1]
    assert found["11 steps"][0].tolist() == [1, 7, 3]
    assert found["5 samples"][0].tolist() == [1, 7, 3, 1, 7]


def test_ways_to_use_an_export():
    stateful = make_network(T=T, D=D, M=M, K=K, stateful=True, return_sequences=True)
    opened = replace(stateful, inputs=(replace(stateful.inputs[0], shape=(None, D)),))
    calls = (make_inputs(stateful, 3),) * 2

    assert [use.way for use in uses_of(stateful, calls)] == [""]
    plain, reset, parts = uses_of(opened, calls, resets=True)
    assert (plain.calls, plain.first, plain.resets) == (calls, 0, False)
    assert (reset.way, len(reset.calls), reset.first, reset.resets) == ("after a reset", 2, 1, True)
    assert parts.way == "in two parts"
    assert [call[0].shape[1] for call in parts.calls] == [3, 4]
    assert np.array_equal(np.concatenate([call[0] for call in parts.calls], axis=1), calls[0][0])
    stateless = replace(opened, layers=make_network(T=T, D=D, M=M, K=K).layers)
    ways = [use.way for use in uses_of(stateless, calls[:1], resets=True)]
    assert ways == ["", "the same again", "after a reset", "1 sample", "2 samples", "5 samples", "1 step", "11 steps"]


def test_a_single_path_or_word_is_one(tmp_path):
    model, path = ported(lambda nodes, held: None, tmp_path)

    assert rnncheck.verify(model, against=str(path)).verdict is Verdict.MATCH
    with pytest.raises(InputError, match="export: got 'pt'"):
        rnncheck.verify(model, export="pt")


def test_axes_that_a_file_has_merged_are_refused(tmp_path):
    nodes = [("Transpose", "x", "t", {"perm": [1, 0, 2]}), ("Tanh", "t", "y", {})]
    onnx.save(graph_of(nodes, {"x": ["n", T, D]}, {"y": None}), path := tmp_path / "turned.onnx")

    with pytest.raises(InputError, match="or axes of its own; expected the samples first and no axes besides"):
        rnncheck.verify(path, against=[path])


# --- names ---


def test_names_come_first_then_shapes_then_numbers():
    wanted = [Slot("h", (3, 5)), Slot("c", (3, 5)), Slot("y", (3, 2)), Slot("Z", (3, 2))]
    there = [Slot("z", (3, 2)), Slot("Identity_1", (3, 5)), Slot("Identity_2", (3, 5)), Slot("Identity", (3, 2))]
    far = {("h", "Identity_1"): 5.0, ("h", "Identity_2"): 1.0, ("c", "Identity_1"): 2.0, ("c", "Identity_2"): 1.0}

    names, notes = matched("output", wanted, there, lambda *pair: far[pair])

    assert names == {"Z": "z", "h": "Identity_2", "c": "Identity_1", "y": "Identity"}
    assert notes == (
        "its output 'Identity_2' is taken for 'h', since its numbers are the nearest",
        "its output 'Identity_1' is taken for 'c', since its numbers are the nearest",
        "its output 'Identity' is taken for 'y', since the shapes agree",
    )


def test_order_alone_tells_nothing():
    with pytest.raises(
        InputError, match=re.escape("input 'a' (any, 4): got 'x' (any, 4), 'y' (any, 4) in the export")
    ):
        matched("input", [Slot("a", (None, 4)), Slot("b", (None, 4))], [Slot("x", (None, 4)), Slot("y", (None, 4))])
    with pytest.raises(
        InputError, match=re.escape("input 'a' (any, 4): got 'x' (any, 3) in the export; expected one")
    ):
        matched("input", [Slot("a", (None, 4))], [Slot("x", (None, 3))])


def test_what_runtimes_say_is_told_in_short():
    assert told("Fail: [ONNXRuntimeError] : 1 : FAIL : no") == "Fail: no"
    assert told("a" * 500) == "a" * 200 + "..."
    assert told("Error No Op registered for Erfc with").startswith("ONNX has no Erfc. Keras' exporter writes it for")


# --- refusals ---


def test_what_cannot_be_held_against_a_model_is_refused(tmp_path, rnncheck_command, monkeypatch):
    model, path = ported(lambda nodes, held: None, tmp_path)
    model.save(source := tmp_path / "model.keras")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.tflite").write_text("no flatbuffer at all")
    (tmp_path / "weights.pt").write_bytes(b"\x80")
    for words, said in {
        (
            source,
            tmp_path / "weights.pt",
        ): "got a file of another kind; expected one that ends with .onnx, .tflite, .xml",
        (source, tmp_path / "none.onnx"): "there is no such file; expected an export",
        (source, tmp_path / "empty.onnx"): "expected a file that ONNX Runtime can load",
        (source, tmp_path / "text.tflite"): "expected a file that LiteRT can load",
        (None, path): "--against: got it without MODEL; expected the model that is exported",
    }.items():
        model_words = [words[0]] if words[0] else []
        done = rnncheck_command("verify", *model_words, "--against", words[1])

        assert (done.code, said in done.err) == (2, True), done.err
    with pytest.raises(InputError, match=re.escape("export: got 'pt'; expected onnx or litert")):
        rnncheck.verify(source, export=["pt"])
    with pytest.raises(InputError, match=re.escape("export: got it with an ONNX file; expected a model of Keras")):
        rnncheck.verify(path, export=["onnx"])
    with pytest.raises(InputError, match=re.escape("export: got it with the case")):
        rnncheck.verify(rnncheck.Case(), export=["onnx"])
    done = rnncheck_command("verify", "--export", "onnx")
    assert (done.code, "--export: got it without MODEL" in done.err) == (2, True)
    monkeypatch.setattr(exports, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape('Run: pip install "rnncheck[onnx]"')):
        rnncheck.verify(source, against=[path])


def test_command_shows_a_column_for_each_export(tmp_path, rnncheck_command):
    model, path = ported(without_bias, tmp_path)
    model.save(source := tmp_path / "model.keras")

    done = rnncheck_command("verify", source, "--against", path, "--json", tmp_path / "report.json")

    assert done.code == 1
    assert done.out.startswith("MISMATCH  model.keras on port.onnx: ")
    assert re.search(r"^case +tensorflow +port.onnx +differ by$", done.out, re.MULTILINE)
    assert re.search(r"^model.keras, 1 step +- +mismatch", done.out, re.MULTILINE)
    assert '"way": "1 step"' in (tmp_path / "report.json").read_text()


def test_loop_is_held_against_the_model_though_it_is_not_read(tmp_path):
    model = built(layers.GRU(M), layers.Dense(K))
    path = exported(model, tmp_path / "model.onnx")

    with pytest.raises(UnsupportedError, match=r"--against model\.onnx"):
        rnncheck.extract(path)
    assert rnncheck.verify(model, against=[path]).verdict is Verdict.MATCH
