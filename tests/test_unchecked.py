"""Layers that nobody has equations for: what they put out is taken as given, and all others are checked."""

import json
import re

import keras
import numpy as np
import pytest
from keras import layers

import rnncheck
from rnncheck import InputError, InputSpec, Layer, MismatchError, Network, Tensor, UnsupportedError
from rnncheck.checks.unchecked import take_as_given
from rnncheck.frameworks.keras.extract import extract
from rnncheck.frameworks.keras.files.modelfile import open_model
from rnncheck.frameworks.keras.load import load
from rnncheck.network import Recording


@keras.saving.register_keras_serializable("rnncheck_tests")
class Scaled(layers.Layer):
    """A layer of a user's own, with weights."""

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="random_normal")

    def call(self, x):
        return x * self.scale

    def compute_output_shape(self, shape):
        return shape


class Split(layers.Layer):
    """One that has two outputs, and cannot describe itself."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x), x[..., :1]


class Threshold(layers.Layer):
    """One that makes a mask, or hands on none."""

    supports_masking = True

    def __init__(self, least, **options):
        super().__init__(**options)
        self.least = least

    def call(self, x):
        return x

    def compute_mask(self, x, mask=None):  # noqa: ARG002 - Keras gives it
        return None if self.least is None else x[..., 0] > self.least


def sequential(*stack, shape=(6, 3), **options):
    return keras.Sequential([keras.Input(shape, **options), *stack], name="m")


def functional(apply, shape=(6, 3)):
    x = keras.Input(shape, name="x")
    return keras.Model(x, apply(x), name="m")


def split(x):
    sine, first = Split(keras.ops.sin, name="split")(x)
    return [layers.SimpleRNN(2, name="gru")(sine), first, layers.SimpleRNN(2, name="rnn")(first)]


def attention(x):
    h, scores = layers.Attention(name="attention")([x, x], return_attention_scores=True)
    return layers.Dense(2, name="head")(layers.Concatenate(name="both")([h, scores]))


def nested(x):
    inner = sequential(layers.Dense(3, name="dense"), Scaled(name="own"))
    return layers.SimpleRNN(2, name="gru")(inner(inner(x)))


def masked(least):
    return lambda x: layers.SimpleRNN(2, name="rnn")(Threshold(least, name="t")(layers.Masking(name="masking")(x)))


# Each with its unchecked layers, and the rows that it has.
MODELS = {
    "first": (lambda: sequential(Scaled(name="own"), layers.SimpleRNN(2, name="rnn")), "own", "rnn/h rnn/output"),
    "last": (lambda: sequential(layers.SimpleRNN(2, name="rnn"), Scaled(name="own")), "own", "rnn/h"),
    "lambda": (
        lambda: sequential(layers.Lambda(lambda x: 2 * x, name="twice"), layers.Dense(2, name="head")),
        "twice",
        "head/output head/output",
    ),
    "several_outputs": (lambda: functional(split), "split", "gru/h rnn/h gru/output rnn/output"),
    "scores": (lambda: functional(attention), "attention", "both/output head/output head/output"),
    "operation": (
        lambda: functional(lambda x: layers.SimpleRNN(2, name="gru")(keras.ops.sin(x))),
        "sin",
        "gru/h gru/output",
    ),
    "option": (
        lambda: sequential(layers.Dense(3, keras.ops.sin, name="sine"), layers.SimpleRNN(2, name="gru")),
        "sine",
        "gru/h gru/output",
    ),
    "nested": (lambda: functional(nested), "m/own m@2/own", "m/dense/output m@2/dense/output gru/h gru/output"),
    "time_distributed": (
        lambda: sequential(
            layers.TimeDistributed(sequential(layers.Dense(2), Scaled(), shape=(3,)), name="td"),
            layers.SimpleRNN(2, name="gru"),
        ),
        "td",
        "gru/h gru/output",
    ),
    "cell": (
        lambda: sequential(
            layers.RNN(layers.GRUCell(2, activation=keras.ops.sin), return_sequences=True, name="rnn"),
            layers.SimpleRNN(2, name="gru"),
        ),
        "rnn",
        "gru/h gru/output",
    ),
    "makes_a_mask": (lambda: functional(masked(0.0)), "t get_item greater", "masking/output rnn/h rnn/output"),
    "drops_a_mask": (lambda: functional(masked(None)), "t", "masking/output rnn/h rnn/output"),
    "stateful": (
        lambda: sequential(
            layers.LSTM(2, stateful=True, return_sequences=True, name="lstm"),
            Scaled(name="own"),
            layers.GRU(2, stateful=True, name="gru"),
            batch_size=3,
        ),
        "own",
        "lstm/h gru/h gru/output",
    ),
}


QUICK = {"first", "lambda", "several_outputs", "nested", "time_distributed", "makes_a_mask"}


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("make", "unchecked", "rows"),
    [pytest.param(*each, id=k, marks=[] if k in QUICK else pytest.mark.long) for k, each in MODELS.items()],
)
def test_every_other_layer_is_checked(make, unchecked, rows):
    report = rnncheck.verify(make(), unchecked="allow")

    (entry,) = report.entries
    assert [f"{row.layer}/{row.output}" for row in entry.rows] == rows.split()
    assert {row.verdict for row in entry.rows} == {"match"}
    assert [re.sub(r"_\d+$", "", name) for name in entry.unchecked] == unchecked.split()  # Keras numbers operations
    assert (report.verdict, report.exit_code) == ("undecidable", 3)


def test_report_names_what_was_not_checked():
    model = sequential(Scaled(name="own"), layers.SimpleRNN(2, name="rnn"))

    report = rnncheck.verify(model, unchecked="allow", blind_spots=True)

    (entry,) = report.to_dict()["cases"]
    assert (entry["unchecked"], entry["verdict"]) == (["own"], "undecidable")
    assert entry["notes"][1:] == ["layer 'own' (Scaled) was not checked: what it put out is taken as given."]
    assert str(report).startswith(
        "UNDECIDABLE  m: all 56 numbers that were checked agree with the equations; not checked: 'own'\n"
    )
    with pytest.raises(MismatchError):
        report.raise_for_mismatch()


def test_mistake_behind_an_unchecked_layer_is_a_mismatch():
    # Keras is known to compute it otherwise.
    model = sequential(Scaled(name="own"), layers.LSTM(4), layers.Dense(4, activation="sparsemax", name="head"))

    report = rnncheck.verify(model, unchecked="allow")

    assert (report.verdict, report.exit_code) == ("mismatch", 1)
    assert {row.layer for _, row in report.failures()} == {"head"}


def test_nothing_left_to_check_is_an_error():
    report = rnncheck.verify(sequential(Scaled(name="own")), unchecked="allow")

    assert (report.verdict, report.rows[0].detail) == ("error", "no layer is left to check")


def test_mask_of_a_wrapper_that_is_not_checked_reaches_the_layers_behind_it():
    inner = keras.Sequential([keras.Input((3,)), Scaled(name="own")], name="inner")
    stack = [layers.Masking(name="masking"), layers.TimeDistributed(inner, name="td"), layers.GRU(2, name="gru")]
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    x[1, 3:] = 0.0

    report = rnncheck.verify(sequential(*stack), x, unchecked="allow")

    (entry,) = report.entries
    assert {str(row.verdict) for row in entry.rows} == {"match"}, entry.rows
    assert entry.unchecked == ("td",)
    network = extract(sequential(*stack), lenient=True)
    assert str(network.layer("gru").mask) in {layer.name for layer in network.layers}


def test_layer_behind_a_wrapper_that_is_checked_may_go_unchecked():
    network = extract(
        sequential(layers.TimeDistributed(layers.Dense(3), name="td"), Scaled(name="own"), layers.GRU(2)),
        lenient=True,
    )

    assert network.unchecked == {"own": "Scaled"}


def test_run_that_shows_other_numbers_than_the_plain_one_is_noted():
    head = Layer("head", "Flatten", (Tensor("own"),), {"data_format": "channels_last"})
    network = Network("m", (InputSpec("x", (2,), "float32"),), (
        Layer("own", "Unchecked", (Tensor("x"),), {"class": "Own"}), head,
    ), (Tensor("head"),))  # fmt: skip
    x = np.ones((3, 2), np.float32)

    def notes(shown):
        recording = Recording((x,), (x,), tensors={Tensor("own"): x, Tensor("head"): shown})
        return take_as_given(network, [recording])[2]

    taken = "layer 'own' (Own) was not checked: what it put out is taken as given."
    assert notes(x) == (taken,)
    assert notes(x + 1) == (
        taken, "the run that shows the layers ends in other numbers than the plain run; the former is checked."
    )  # fmt: skip


def test_recording_without_what_an_unchecked_layer_put_out_is_refused():
    network = Network("m", (InputSpec("x", (2,), "float32"),), (
        Layer("own", "Unchecked", (Tensor("x"),), {"class": "Own"}),
        Layer("head", "Flatten", (Tensor("own"),), {"data_format": "channels_last"}),
    ), (Tensor("head"),))  # fmt: skip
    x = np.ones((3, 2), np.float32)

    with pytest.raises(InputError) as refusal:
        take_as_given(network, [Recording((x,), (x,), tensors={Tensor("head"): x})])

    assert str(refusal.value) == (
        "layer 'own', which is not checked: got no output by that name when the model ran; expected 3 samples, "
        "(N, ...)."
    )


def test_without_unchecked_layers_nothing_changes():
    model = sequential(layers.SimpleRNN(2))

    report = rnncheck.verify(model, unchecked="allow")

    assert report.verdict == "match"
    assert "unchecked" not in report.to_dict()["cases"][0]


# --- files ---


def with_attention(path):
    model = functional(
        lambda x: layers.Dense(2, name="head")(
            layers.LSTM(4, name="lstm")(layers.MultiHeadAttention(2, 3, name="mha")(x, x))
        )
    )
    model.save(path)
    return model


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_file_with_a_layer_of_keras_that_is_not_replayed(rnncheck_command, tmp_path, suffix):
    path, report = tmp_path / f"a{suffix}", tmp_path / "report.json"
    with_attention(path)

    refused = rnncheck_command("verify", path)
    allowed = rnncheck_command("verify", path, "--unchecked", "allow", "--json", report)

    assert (refused.code, refused.err) == (
        2,
        (
            "rnncheck: layer 'mha': MultiHeadAttention is not a layer that rnncheck replays; expected one of those "
            'under "What is checked" in the README. With unchecked set to allow, the other layers are checked.\n'
        ),
    )
    assert (allowed.code, allowed.err) == (3, "")
    (entry,) = json.loads(report.read_text())["cases"]
    assert entry["unchecked"] == ["mha"]
    assert [row["layer"] for row in entry["rows"]] == ["lstm", "head", "head"]


def test_show_lists_an_unchecked_layer_without_equations(rnncheck_command, tmp_path):
    with_attention(tmp_path / "a.keras")

    done = rnncheck_command("show", tmp_path / "a.keras", "--unchecked", "allow")

    assert (done.code, done.err) == (0, "")
    (line,) = (each for each in done.out.splitlines() if each.startswith("mha"))
    assert line.split() == ["mha", "Unchecked", "?", "0", "x,", "x", "class=MultiHeadAttention"]
    assert "\nLSTM\n" in done.out
    assert "\nUnchecked\n" not in done.out


def test_file_with_a_registered_layer_on_several_paths(tmp_path):
    path = tmp_path / "a.keras"
    functional(nested).save(path)

    report = rnncheck.verify(path, unchecked="allow", paths=["predict", "call"])

    assert [entry.verdict for entry in report.entries] == ["undecidable"] * 2


def test_lambda_in_a_file_stays_refused_by_keras(tmp_path):
    path = tmp_path / "a.keras"
    MODELS["lambda"][0]().save(path)

    with pytest.raises(InputError) as refused:
        rnncheck.verify(path, unchecked="allow")

    assert str(refused.value).startswith(
        f"{path}: Keras cannot load it (ValueError: Requested the deserialization of a `Lambda` layer"
    )
    assert "layers that are not checked have to run: 'twice' (Lambda)." in str(refused.value)


@pytest.mark.filterwarnings("ignore:You are saving")
def test_h5_file_that_mixes_weights_says_so(tmp_path):
    path = tmp_path / "a.h5"
    functional(nested).save(path)

    with pytest.raises(InputError) as refused:
        rnncheck.verify(path, unchecked="allow")

    assert str(refused.value) == (
        "layer 'm': the file has the weights of a layer in it that is not checked among all others; expected none "
        "there. Save the model as a .keras file, which keeps them apart."
    )


def test_weights_of_an_unchecked_layer_cannot_come_from_elsewhere(tmp_path):
    weights, whole = tmp_path / "a.weights.h5", tmp_path / "a.keras"
    with_attention(whole).save_weights(weights)

    with pytest.raises(InputError) as refused:
        load(open_model(weights, whole))

    assert str(refused.value) == (
        f"{weights}: layer 'mha' is not checked, and rnncheck cannot give it its weights; expected a model file that "
        "Keras itself loads. Save it with Keras 3: model.save('model.keras')."
    )


# --- what another program computed ---


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A model with an unchecked layer, and what it computes."""
    folder = tmp_path_factory.mktemp("recorded")
    model = with_attention(folder / "a.keras")
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    shown = keras.Model(model.inputs, [model.outputs[0], model.get_layer("mha").output])
    y, given = shown.predict(x, verbose=0)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    np.savez(folder / "states.npz", mha=given)
    return folder, x, y, given


def test_recording_is_compared_from_what_the_layer_put_out(rnncheck_command, recorded):
    folder, x, y, given = recorded
    arrays = ("--inputs", folder / "x.npy", "--outputs", folder / "y.npy", "--states", folder / "states.npz")

    done = rnncheck_command("compare", folder / "a.keras", *arrays, "--unchecked", "allow")
    wrong = rnncheck.compare(folder / "a.keras", x, 1.01 * y, states={"mha": given}, unchecked="allow")

    assert (done.code, done.err) == (3, "")
    assert "layer 'mha' (MultiHeadAttention) was not checked" in done.out
    assert wrong.verdict == "mismatch"
    assert wrong.entries[0].diagnosis.explanations[0].faults == ("outputs_scaled",)


BAD = {
    "nothing": (
        lambda given: {},
        (
            "states: got none by the name 'mha'; expected what that layer put out, (N, ...), among them, since it is "
            "not checked and what follows starts from it."
        ),
    ),
    "samples": (
        lambda given: {"mha": given[:2]},
        "states of 'mha': got shape (2, 6, 3) and dtype float32; expected 4 samples of real numbers, (N, ...).",
    ),
    "words": (
        lambda given: {"mha": ["a", "b"]},
        "states of 'mha': got shape (2,) and dtype <U1; expected 4 samples of real numbers, (N, ...).",
    ),
    "digits": (
        lambda given: {"mha": np.round(given, 4)},
        "states of 'mha': got 4 ",
    ),
    "shape": (
        lambda given: {"mha": given[..., :2]},
        "layer 'lstm': got shapes that do not fit together, inputs (1, 6, 2) and ",
    ),
}


@pytest.mark.parametrize(("states", "message"), BAD.values(), ids=BAD)
def test_recording_that_cannot_be_used(recorded, states, message):
    folder, x, y, given = recorded

    with pytest.raises(InputError) as refused:
        rnncheck.compare(folder / "a.keras", x, y, states=states(given), unchecked="allow")

    assert str(refused.value).startswith(message)


# --- what cannot be ---


def test_relations_need_equations():
    model = sequential(Scaled(name="own"), layers.SimpleRNN(2))

    with pytest.raises(
        InputError, match=r"^metamorphic: got it with layer 'own', which is not checked; expected none"
    ):
        rnncheck.verify(model, unchecked="allow", metamorphic=True)


def test_other_words_and_cases_take_no_such_option(rnncheck_command):
    done = rnncheck_command("verify", "--unchecked", "allow")

    assert done.err == (
        "rnncheck: --unchecked: got it without MODEL; expected a .keras or .h5 file that it belongs to.\n"
    )
    with pytest.raises(InputError, match=r"^unchecked: got 'yes'; expected 'refuse' or 'allow'\.$"):
        rnncheck.verify(sequential(layers.SimpleRNN(2)), unchecked="yes")
    with pytest.raises(InputError, match=r"^unchecked: got it with the case"):
        rnncheck.verify(rnncheck.Case(), unchecked="allow")


def test_layer_of_ones_own_is_refused_without_it():
    with pytest.raises(
        UnsupportedError, match=r"^layer 'own': Scaled is not a layer that rnncheck replays; .*unchecked set to allow"
    ):
        rnncheck.verify(sequential(Scaled(name="own")))


def test_refusal_of_an_option_names_the_way_to_check_the_rest():
    images = layers.ConvLSTM1D(2, 1, data_format="channels_first", return_sequences=True, name="images")
    model = sequential(images, layers.Reshape((6, 4)), layers.LSTM(2), shape=(6, 3, 2))

    with pytest.raises(UnsupportedError) as refused:
        rnncheck.verify(model)

    said = str(refused.value)
    assert said.startswith("layer 'images': ")
    assert said.endswith(" With unchecked set to allow, the other layers are checked.")


def test_refusal_that_no_option_helps_names_none():
    with pytest.raises(UnsupportedError) as refused:
        rnncheck.verify(keras.Sequential([layers.LSTM(2)]))

    assert "--unchecked" not in str(refused.value)


@keras.saving.register_keras_serializable("rnncheck_tests")
class Unnamed(layers.Layer):
    """One whose get_config forgets the name."""

    def call(self, x):
        return x

    def get_config(self):
        return {}


def test_layer_whose_description_has_no_name(tmp_path):
    sequential(Unnamed(), layers.LSTM(2)).save(tmp_path / "a.keras")

    with pytest.raises(InputError) as refused:
        rnncheck.verify(tmp_path / "a.keras", unchecked="allow")

    assert str(refused.value) == (
        "layer of class Unnamed: got the name None; expected a word. If it is a class of your own, its get_config "
        "has to begin with super().get_config()."
    )


class Summed(layers.Layer):
    """One with an output that has no samples."""

    def call(self, x):
        return x, keras.ops.sum(x)


def test_output_of_an_unchecked_layer_without_samples():
    x = keras.Input((6, 3))
    y, total = Summed(name="summed")(x)
    model = keras.Model(x, layers.LSTM(2)(y * total))

    with pytest.raises(
        InputError, match=r"^layer 'summed:1', which is not checked: got an output of shape \(\); expected"
    ):
        rnncheck.verify(model, unchecked="allow")


def test_vocabulary_beside_the_model_goes_with_it(tmp_path):
    lookup = layers.IntegerLookup(name="lookup")
    lookup.adapt(np.array([3, 5, 8]))
    model = keras.Sequential([keras.Input((4,), dtype="int64"), lookup, layers.Embedding(6, 3), layers.LSTM(2)])
    model.save(tmp_path / "a.keras")

    report = rnncheck.verify(tmp_path / "a.keras", np.array([[3, 5, 8, 1]]), unchecked="allow")

    assert report.verdict == "undecidable"
    assert report.entries[0].unchecked == ("lookup",)
