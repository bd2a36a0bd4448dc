"""Keras' compute paths: each computes what the equations say, and leaves the model as it was."""

import json

import keras
import numpy as np
import pytest

import rnncheck
from rnncheck.cases.case import Case
from rnncheck.cases.deviations import deviates
from rnncheck.checks.verdicts import Verdict
from rnncheck.errors import InputError, NotApplicableError
from rnncheck.frameworks.keras import environment, paths
from rnncheck.frameworks.keras.build import build
from rnncheck.frameworks.keras.extract import extract
from rnncheck.frameworks.keras.paths import PATHS, named_paths, recurrent_layers
from rnncheck.frameworks.keras.run import record

_SIZES = {"N": 3, "T": 4, "D": 2, "M": 5, "K": 1}
ON_CPU = tuple(path.name for path in PATHS.values() if not path.on_gpu)

CASES = [
    Case(**_SIZES, layer="lstm", seed=31),
    Case(**_SIZES, layer="stacked", cell="gru", mask="holes", return_state=True, seed=32),
    Case(**_SIZES, layer="gru", wrapper="bidirectional", initial_state=True, seed=33),
    Case(**_SIZES, layer="conv_lstm_1d", stateful=True, seed=35),
    Case(**_SIZES, layer="lstm", dtype="mixed_float16", unroll=True, seed=36),
]


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_path_matches(case):
    entries = rnncheck.verify(case, paths=["all"]).entries

    said = {entry.path: entry.verdict for entry in entries}
    assert {"predict", "call", "predict_on_batch", "jit", "no_jit"} <= set(said)
    assert set(said.values()) == {Verdict.MATCH}, [(e.path, e.rows) for e in entries if e.verdict != Verdict.MATCH]
    left_out = {note.split("`")[1] for note in entries[0].notes if note.startswith("path ")}
    assert set(said) | left_out == set(PATHS)
    assert set(said) & left_out == set()


def test_paths_compute_in_ways_of_their_own():
    built = build(Case(N=5, T=9, D=8, M=16, K=3, layer="gru", seed=4))
    network = extract(built.model)

    found = {
        name: record(built.model, network, built.calls, PATHS[name])[0].outputs[0] for name in ("predict", "jit")
    }

    assert np.any(found["predict"] != found["jit"])  # otherwise one of them ran twice
    np.testing.assert_allclose(found["predict"], found["jit"], rtol=1e-4, atol=1e-6)


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["unroll", "no_use_cudnn", "all_true_mask", "jit"])
def test_path_leaves_the_model_as_it_was(name):
    built = build(Case(**_SIZES, layer="lstm"))
    (layer,) = recurrent_layers(built.model)
    before = (layer.unroll, layer.use_cudnn, len(layer._inbound_nodes), built.model.compiled)

    record(built.model, extract(built.model), built.calls, PATHS[name])

    assert (layer.unroll, layer.use_cudnn, len(layer._inbound_nodes), built.model.compiled) == before


def test_layers_have_the_setting_while_the_path_runs():
    built = build(Case(**_SIZES, layer="gru"))
    (layer,) = recurrent_layers(built.model)

    inside = []

    def fail():
        inside.append(layer.unroll)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), PATHS["unroll"].around(built.model):
        fail()
    assert (inside, layer.unroll) == ([True], False)


def test_all_true_mask_reaches_every_layer(monkeypatch):
    built = build(Case(**_SIZES, layer="lstm", layers=2, return_sequences=True))
    given = []

    def spied(inner_loop):
        def run(sequences, initial_state, mask, **options):
            given.append(mask)
            return inner_loop(sequences, initial_state, mask, **options)

        return run

    for layer in recurrent_layers(built.model):
        monkeypatch.setattr(layer, "inner_loop", spied(layer.inner_loop))

    record(built.model, extract(built.model), built.calls, PATHS["all_true_mask"])

    assert len(given) == 4  # two layers, in the model and in the probe
    assert all(mask is not None for mask in given)


def test_path_that_goes_wrong_is_named(rnncheck_command, tmp_path):
    words = (
        "verify --layer conv_lstm_1d -N 3 -T 5 --mask left --go-backwards --zero-output-for-mask --return-sequences"
    )
    report = tmp_path / "report.json"
    case = Case(
        layer="conv_lstm_1d", N=3, T=5, mask="left", go_backwards=True, zero_output_for_mask=True, unroll=True
    )
    assert deviates(case)

    done = rnncheck_command(*words.split(), "--paths", "predict,unroll", "--json", report)

    assert done.code == 1
    verdicts = {case["path"]: case["verdict"] for case in json.loads(report.read_text())["cases"]}
    assert verdicts == {"predict": "match", "unroll": "mismatch"}
    assert "by unroll" in done.out
    assert done.out.splitlines()[-2].endswith(" --paths unroll")


def test_report_has_a_column_for_paths():
    built = build(Case(**_SIZES, layer="gru"))

    report = rnncheck.verify(built.model, built.calls[0], paths=["call", "predict"])

    assert report.paths == ("predict", "call")
    assert list(report.to_frame()["path"].unique()) == ["predict", "call"]


def test_without_paths_nothing_is_said_of_them():
    built = build(Case(**_SIZES, layer="gru"))

    report = rnncheck.verify(built.model, built.calls[0])

    assert "path" not in report.to_frame()
    assert "path" not in report.to_dict()["cases"][0]


def test_path_that_there_is_not_is_noted():
    built = build(Case(N=1, T=4))

    report = rnncheck.verify(built.model, built.calls[0], paths=["predict", "batch_of_one", "tf32", "unroll"])

    assert report.paths == ("predict", "unroll")
    assert ": path `batch_of_one` was not run: there is one sample\n" in str(report)
    assert "path `tf32` was not run: there is no GPU" in report.entries[0].notes


def test_path_of_masks_is_for_layers_without_one():
    case = Case(**_SIZES, layer="gru", mask="left")

    (entry,) = rnncheck.verify(case, paths=["predict", "all_true_mask"]).entries

    assert "path `all_true_mask` was not run: every recurrent layer has a mask already" in entry.notes


def test_tf32_is_for_backends_that_can_be_told(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "numpy")

    with (
        pytest.raises(NotApplicableError, match=r"^numpy does not say how it multiplies$"),
        paths._tensor_float_32(allowed=True),
    ):
        pass


def test_no_path_left_is_an_error(rnncheck_command):
    done = rnncheck_command("verify", "-N", 2, "--paths", "tf32,use_cudnn")

    assert done.code == 2
    assert "path `use_cudnn` was not run: there is no GPU; path `tf32` was not run: there is no GPU" in " ".join(
        done.out.split()
    )


def test_unknown_path_is_refused(rnncheck_command):
    done = rnncheck_command("verify", "--paths", "express")

    assert done.code == 2
    assert done.err.startswith("rnncheck: paths: got 'express'; expected predict, call, ")


def test_all_means_every_path():
    assert named_paths(["all"]) == tuple(PATHS)
    assert named_paths(["jit", "call"]) == ("call", "jit")
    with pytest.raises(InputError):
        named_paths(["jit", ""])


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_set_for_a_while(monkeypatch, backend, allowed):
    monkeypatch.setattr("keras.backend.backend", lambda: backend)
    before = _tf32(backend)

    with paths._tensor_float_32(allowed=allowed):
        inside = _tf32(backend)

    said = {"tensorflow": allowed, "jax": "tensorfloat32" if allowed else "float32", "torch": (allowed, allowed)}
    assert inside == said[backend]
    assert _tf32(backend) == before


def _tf32(backend):
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()
    if backend == "jax":
        import jax

        return jax.config.jax_default_matmul_precision
    import torch

    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("devices", "kinds"), [(["gpu:0", "cpu:0", "gpu:1"], "cpu, gpu"), (["cpu:0"], "cpu"), ([], "cpu")]
)
def test_report_says_which_kinds_of_devices_there_are(monkeypatch, devices, kinds):
    monkeypatch.setattr(environment, "_devices", lambda: devices)

    assert environment.environment()["device"] == kinds


def test_tf32_path_expects_coarse_products(monkeypatch):
    """Where there is a GPU the path runs; here float32 products stand in for its, which are finer than it allows."""
    monkeypatch.setattr(paths, "has_gpu", lambda: True)
    built = build(Case(**_SIZES, layer="lstm"))

    report = rnncheck.verify(built.model, built.calls[0], paths=["predict", "tf32"])

    noise = {entry.path: max(row.noise for row in entry.rows) for entry in report.entries}
    assert report.verdict is Verdict.MATCH
    assert noise["tf32"] > 100.0 * noise["predict"]


def test_path_that_keras_refuses_for_a_layer_is_noted(monkeypatch):
    monkeypatch.setattr(paths, "has_gpu", lambda: True)
    built = build(Case(**_SIZES, layer="lstm"))

    report = rnncheck.verify(built.model, built.calls[0], paths=["predict", "use_cudnn"])

    assert report.verdict is Verdict.MATCH
    said = "path `use_cudnn` was not run: Keras says that cuDNN is not supported for one of the layers"
    assert report.entries[0].notes == (said,)


def test_paths_that_need_a_gpu_are_not_for_others():
    built = build(Case(**_SIZES))

    with pytest.raises(NotApplicableError, match="there is no GPU"):
        record(built.model, extract(built.model), built.calls, PATHS["use_cudnn"])


def test_layer_without_a_setting_is_left_as_it_is():
    """A SimpleRNN has no use_cudnn."""
    simple, lstm = keras.layers.SimpleRNN(2, return_sequences=True), keras.layers.LSTM(2)
    model = keras.Sequential([keras.Input((3, 2)), simple, lstm])
    before = lstm.use_cudnn

    with PATHS["no_use_cudnn"].around(model):
        inside = lstm.use_cudnn

    assert (before, inside, lstm.use_cudnn) == ("auto", False, "auto")
    assert not hasattr(simple, "use_cudnn")
