"""What is read from a model file is what the model had; what cannot be read says so."""

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import rnncheck
from rnncheck import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.owners import Owner, container_names
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.frameworks.keras.files.modelfile import open_model

h5py = pytest.importorskip("h5py")

FORMATS = pytest.mark.parametrize("suffix", [".keras", ".h5"])
CONFIG = {"class_name": "Sequential", "config": {"name": "m", "layers": []}}
DENSE = Owner(("kernel", "bias"), (True, True), ("layers", "dense"), "dense")
WHOLE = "Save the whole model again with model.save(...)."
SAVE = "Save the whole model as a .keras file: model.save('model.keras')."


def two_dense():
    from keras import Input, Sequential, layers

    return Sequential([Input((4,)), layers.Dense(3), layers.Dense(2)])


def every_wrapper():
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((5, 4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True, dropout=0.1), backward_layer=None),
            layers.TimeDistributed(layers.Dense(2)),
            layers.RNN([layers.LSTMCell(2), layers.GRUCell(3), layers.LSTMCell(4)], return_sequences=True),
            layers.RNN(layers.SimpleRNNCell(2)),
        ]
    )


def nested():
    from keras import Input, Model, Sequential, layers

    inner = Sequential([Input((5, 4)), layers.BatchNormalization(), layers.GRU(3), layers.BatchNormalization()])
    x = Input((5, 4))
    return Model(x, layers.Dense(2)(layers.Dense(3)(inner(x))))


def shared():
    """Return a model in which a layer belongs to two inner models and is called by the outer one as well."""
    from keras import Input, Model, Sequential, layers

    both = layers.Dense(4)
    one = Sequential([Input((4,)), both, layers.Dense(4)])
    other = Sequential([Input((4,)), both, layers.LayerNormalization()])
    x = Input((4,))
    return Model(x, layers.Dense(2)(both(other(one(x)))))


def frozen_inside():
    from keras import Input, Model, Sequential, layers

    inner = Sequential([Input((4,)), layers.Dense(3, trainable=False), layers.BatchNormalization(), layers.Dense(2)])
    x = Input((4,))
    return Model(x, inner(x))


def all_frozen():
    model = nested()
    model.trainable = False
    return model


def compiled():
    model = nested()
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)  # one step is not worth tracing
    model.fit(np.ones((2, 5, 4)), np.ones((2, 2)), verbose=0)
    return model


def half_precision():
    from keras import Input, Sequential, layers

    return Sequential([Input((5, 4)), layers.GRU(3, dtype="float16"), layers.Dense(2, dtype="bfloat16")])


def double_precision():
    from keras import Input, Sequential, layers

    return Sequential([Input((5, 4)), layers.LSTM(3, dtype="float64", stateful=False), layers.Dropout(0.5)])


def stateful():
    from keras import Input, Sequential, layers

    model = Sequential([Input((5, 4), batch_size=2), layers.LSTM(3, stateful=True)])
    model.predict(np.ones((2, 5, 4)), verbose=0)
    return model


MODELS = [
    two_dense,
    every_wrapper,
    nested,
    shared,
    frozen_inside,
    all_frozen,
    compiled,
    half_precision,
    double_precision,
    stateful,
]


def parts(thing):
    """Yield what a Keras object consists of, with the path to each part."""
    for attribute in ("layers", "cells"):
        members = getattr(thing, attribute, None) or []
        names = container_names([type(member).__name__ for member in members])
        yield from (((attribute, name), member) for name, member in zip(names, members, strict=True))
    for attribute in ("forward_layer", "backward_layer", "cell", "layer"):
        if hasattr(thing, attribute) and not (attribute == "layer" and hasattr(thing, "forward_layer")):
            yield (attribute,), getattr(thing, attribute)


def owners_and_values(model):
    """Return every owner of weights in a live model, and those weights."""
    found, visited = [], set()

    def visit(thing, path, layer):
        if id(thing) in visited:
            return
        visited.add(id(thing))
        own = thing._trainable_variables + thing._non_trainable_variables
        own = [v for v in own if v.name not in {"seed_generator_state", "rnn_state"}]
        if own:
            names, trainable = tuple(v.name for v in own), tuple(v.trainable for v in own)
            found.append((Owner(names, trainable, path, layer), own))
        for step, part in parts(thing):
            visit(part, path + step, layer or getattr(part, "name", ""))

    visit(model, (), "")
    return [owner for owner, _ in found], [{v.name: np.asarray(v.value) for v in own} for _, own in found]


def randomised(model, rng):
    model.set_weights([rng.normal(size=w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the bytes of a small model, by suffix, and the owners of its weights."""
    folder = tmp_path_factory.mktemp("saved")
    model = two_dense()
    for suffix in (".keras", ".h5"):
        model.save(folder / f"model{suffix}")
    content = {suffix: (folder / f"model{suffix}").read_bytes() for suffix in (".keras", ".h5")}
    return content, owners_and_values(model)[0]


def archive(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in members.items():
            file.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return path


def hdf5(build):
    """Return the bytes of an HDF5 file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        build(file)
    return buffer.getvalue()


def dense_weights(file):
    file["layers/dense/vars/0"] = np.ones((4, 3), np.float32)
    file["layers/dense/vars/1"] = np.ones(3, np.float32)


def members(build=dense_weights, config=CONFIG, version="3.15.1"):
    return {"metadata.json": {"keras_version": version}, "config.json": config, "model.weights.h5": hdf5(build)}


def legacy(path, build=None, config=CONFIG, **how):
    with h5py.File(path, "w", **how) as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.12.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["dense"]
        dense = group.create_group("dense")
        dense.attrs["weight_names"] = ["dense/kernel:0", "dense/bias:0"]
        dense["dense/kernel:0"] = np.ones((4, 3), np.float32)
        dense["dense/bias:0"] = np.ones(3, np.float32)
        if build:
            build(file)
    return path


def message(action, *arguments, error=InputError):
    with pytest.raises(error) as caught:
        action(*arguments)
    return str(caught.value)


@FORMATS
@pytest.mark.parametrize("frozen", [(), ("model",), ("inner",), ("dense",), ("inner", "dense")], ids="-".join)
def test_weights_of_frozen_parts_are_read_as_those_of_others(frozen, suffix, rng, tmp_path):
    """In an `.h5` file they stand behind those that may be trained."""
    from keras import Input, Model, Sequential, layers

    dense = layers.Dense(3, name="dense")
    inner = Sequential([Input((4,)), layers.BatchNormalization(), dense, layers.Dense(3, name="last")], name="inner")
    x = Input((4,))
    model = randomised(Model(x, inner(x), name="model"), rng)
    for part in (model, inner, dense):
        if part.name in frozen:
            part.trainable = False
    model.save(tmp_path / f"model{suffix}")

    read, live = (rnncheck.extract(source) for source in (tmp_path / f"model{suffix}", model))

    for layer, other in zip(read.layers, live.layers, strict=True):
        assert {name: w.tolist() for name, w in layer.weights.items()} == {
            name: w.tolist() for name, w in other.weights.items()
        }


@pytest.mark.few(12)
@FORMATS
@pytest.mark.parametrize("make", MODELS, ids=[make.__name__ for make in MODELS])
def test_weights_are_those_of_the_model(make, suffix, rng, tmp_path):
    model = randomised(make(), rng)
    owners, expected = owners_and_values(model)
    model.save(tmp_path / f"model{suffix}")

    weights = open_model(tmp_path / f"model{suffix}").weights.read(owners)

    assert [list(one) for one in weights] == [list(owner.names) for owner in owners]
    for actual, wanted in zip(weights, expected, strict=True):
        for name in wanted:
            half = wanted[name].dtype.name == "bfloat16"
            assert actual[name].dtype == (np.float32 if half else wanted[name].dtype)
            np.testing.assert_array_equal(actual[name], wanted[name].astype(actual[name].dtype))


@FORMATS
def test_file_says_what_the_model_is_and_which_keras_wrote_it(suffix, tmp_path):
    import keras

    model = nested()
    path = tmp_path / f"ein modèl {suffix}"
    model.save(path)

    found = open_model(path)

    assert found.path == path
    assert found.config["class_name"] == "Functional"
    assert [one["config"]["name"] for one in found.config["config"]["layers"]] == [one.name for one in model.layers]
    assert found.keras_version == keras.__version__


def test_type_of_the_file_is_told_by_its_first_bytes(saved, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(saved[0][".h5"])

    assert open_model(path).config["class_name"] == "Sequential"


@FORMATS
def test_opened_file_can_be_sent_to_another_process(suffix, saved, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(saved[0][suffix])
    file = open_model(path)

    sent = pickle.loads(pickle.dumps(file))  # noqa: S301 - our own

    assert (sent.path, sent.config, sent.keras_version) == (file.path, file.config, file.keras_version)
    here, there = (read(each.config, each.weights, each.keras_version) for each in (file, sent))
    for before, after in zip(here.layers, there.layers, strict=True):
        assert before.weights.keys() == after.weights.keys()
        for name, weight in before.weights.items():
            np.testing.assert_array_equal(weight, after.weights[name])


def test_import_is_cheap():
    module = "rnncheck.frameworks.keras.files.modelfile"
    script = f"import sys, {module}; print({{'h5py', 'keras', 'tensorflow'}} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_attributes_cut_into_parts_are_joined(tmp_path):
    def cut(file):
        del file["model_weights"].attrs["layer_names"]
        file["model_weights"].attrs["layer_names0"] = [b"input"]
        file["model_weights"].attrs["layer_names1"] = [b"dense"]
        file["model_weights"].create_group("input").attrs["weight_names"] = np.array([])

    weights = open_model(legacy(tmp_path / "a.h5", cut)).weights.read([DENSE])

    assert [list(one) for one in weights] == [["kernel", "bias"]]


@pytest.mark.parametrize(
    ("version", "numbers", "container"),
    [
        ("2.12.0", (0, 2, 4), "_layer_checkpoint_dependencies"),
        ("2.14.0", (0, 1, 2), "_layer_checkpoint_dependencies"),
        ("2.15.0", (0, 1, 2), "layers"),
        ("3.15.1", (0, 1, 2), "layers"),
    ],
)
def test_archive_of_each_keras_numbers_layers_in_its_way(version, numbers, container, tmp_path):
    def dense_layers(file):
        for k, number in enumerate(numbers):
            file[f"{container}/sequential/{container}/dense{f'_{number}' if number else ''}/vars/0"] = np.full(
                2, k + 0.5
            )
        file["optimizer/vars/0"] = np.int64(3)
        file["metrics/mean/vars/0"] = np.float32(3)

    names = container_names(["Dense"] * 3)
    owners = [Owner(("bias",), (True,), ("layers", "sequential", "layers", name), "m") for name in names]
    path = archive(tmp_path / "a.keras", members(dense_layers, version=version))

    weights = open_model(path).weights.read(owners)

    assert [one["bias"].tolist() for one in weights] == [[0.5, 0.5], [1.5, 1.5], [2.5, 2.5]]


def test_keras_2_leaves_out_the_number_of_a_layer_saved_elsewhere(tmp_path):
    def one_dense(file):
        file["layers/dense/vars/0"] = np.ones(2)

    owner = Owner(("bias",), (True,), ("layers", "dense_1"), "dense_1")
    path = archive(tmp_path / "a.keras", members(one_dense, version="2.15.0"))

    assert open_model(path).weights.read([owner])[0]["bias"].tolist() == [1, 1]


@pytest.mark.parametrize("version", ["", "2.0.0", "3.0.0.dev2023"])
def test_version_is_what_the_file_says(version, tmp_path):
    path = archive(tmp_path / "a.keras", members(version=version))

    assert open_model(path).keras_version == version


MISSING = {
    ".keras": "layer 'dense': the file has 2 weights at layers/dense; expected 3: kernel, bias, extra. " + WHOLE,
    ".h5": "layer 'dense': the file has 2 weights; expected 3: kernel, bias, extra. " + WHOLE,
}
ABSENT = {
    ".keras": "layer 'other': the file has no weights at layers/other; expected 1: kernel. " + WHOLE,
    ".h5": "layer 'other': the file has no weights; expected 1: kernel. " + WHOLE,
}
LEFT = {
    ".keras": "layers/dense: the file has 2 weights that no layer of the model takes; expected none. " + WHOLE,
    ".h5": "layer 'dense': the file has 2 weights that no layer of the model takes; expected none. " + WHOLE,
}


def written(suffix, folder):
    return archive(folder / "a.keras", members()) if suffix == ".keras" else legacy(folder / "a.h5")


@FORMATS
def test_missing_weights_are_named(suffix, tmp_path):
    weights = open_model(written(suffix, tmp_path)).weights
    owner = Owner(("kernel", "bias", "extra"), (True, True, False), DENSE.path, "dense")

    assert message(weights.read, [owner]) == MISSING[suffix]


@pytest.mark.parametrize(("count", "ends"), [(12, "n11. "), (13, "n11, .... ")])
def test_many_missing_weights_are_named_in_part(count, ends, tmp_path):
    names = tuple(f"n{number}" for number in range(count))
    weights = open_model(written(".h5", tmp_path)).weights

    said = message(weights.read, [Owner(names, (True,) * count, DENSE.path, "dense")])

    assert said == f"layer 'dense': the file has 2 weights; expected {count}: {', '.join(names[:11])}, {ends}{WHOLE}"


@FORMATS
def test_layer_without_weights_in_the_file_is_named(suffix, tmp_path):
    weights = open_model(written(suffix, tmp_path)).weights
    other = Owner(("kernel",), (True,), ("layers", "other"), "other")

    assert message(weights.read, [DENSE, other]) == ABSENT[suffix]


@FORMATS
def test_weights_left_over_are_named(suffix, tmp_path):
    weights = open_model(written(suffix, tmp_path)).weights

    assert message(weights.read, []) == LEFT[suffix]


def test_weights_in_another_order_are_refused(tmp_path):
    weights = open_model(legacy(tmp_path / "a.h5")).weights
    owner = Owner(("kernel", "bias"), (False, True), DENSE.path, "dense")

    assert message(weights.read, [owner]) == (
        f"layer 'dense': the file lists kernel, bias; expected the order bias, kernel. {WHOLE}"
    )


def test_quantised_model_is_refused(tmp_path):
    model = two_dense()
    model.quantize("int8")
    model.save(tmp_path / "a.keras")

    assert message(open_model, tmp_path / "a.keras", error=UnsupportedError) == (
        f"layer '{model.layers[0].name}': its weights are quantised (int8); expected floating-point numbers. "
        "rnncheck does not replay quantised layers: save the model before quantize()."
    )


def test_integers_are_no_weights(tmp_path):
    def integers(file):
        file["layers/dense/vars/0"] = np.ones((4, 3), np.int8)
        file["layers/dense/vars/1"] = np.ones(3, np.float32)

    path = archive(tmp_path / "a.keras", members(integers))

    assert message(open_model(path).weights.read, [DENSE], error=UnsupportedError) == (
        f"{path}: model.weights.h5: /layers/dense/vars/0 holds int8 numbers; expected float16, bfloat16, float32 or "
        "float64. rnncheck does not replay quantised weights: save the model before they are quantised."
    )


def test_big_endian_numbers_are_read(tmp_path):
    def swapped(file):
        file["layers/dense/vars/0"] = np.array([1.5, 2.5], ">f4")

    owner = Owner(("bias",), (True,), DENSE.path, "dense")
    weights = open_model(archive(tmp_path / "a.keras", members(swapped))).weights.read([owner])

    assert weights[0]["bias"].dtype == np.dtype("=f4")
    assert weights[0]["bias"].tolist() == [1.5, 2.5]


def test_missing_file(tmp_path):
    path = tmp_path / "a.keras"

    assert message(open_model, path) == (
        f"{path}: there is no such file; expected a .keras or .h5 file. Check the path."
    )


def test_empty_file(tmp_path):
    path = tmp_path / "a.keras"
    path.touch()

    assert message(open_model, path) == f"{path}: the file is empty; expected a .keras or .h5 file. {SAVE}"


def test_name_that_is_too_long(tmp_path):
    path = tmp_path / ("a" * 300)

    assert message(open_model, path) == (
        f"{path}: it cannot be read (File name too long); expected a .keras or .h5 file. Check the path."
    )


@pytest.mark.parametrize(
    ("member", "ending"),
    [
        ("readme.txt", "got a directory; expected a .keras or .h5 file. Give the file in it."),
        (
            "saved_model.pb",
            (
                "got a SavedModel directory; expected a .keras or .h5 file. "
                "Convert it with the Keras that wrote it: tf.keras.models.load_model('{path}').save('model.keras')."
            ),
        ),
        (
            "config.json",
            (
                "got a model saved as a directory; expected a .keras or .h5 file. "
                "Load it with Keras and save it as a file: keras.saving.load_model('{path}').save('model.keras')."
            ),
        ),
    ],
    ids=["any", "saved-model", "unzipped"],
)
def test_directory(member, ending, tmp_path):
    (tmp_path / member).touch()

    assert message(open_model, tmp_path) == f"{tmp_path}: {ending.format(path=tmp_path)}"


def test_device():
    from pathlib import Path

    assert message(open_model, Path("/dev/zero")) == (
        "/dev/zero: it is a device or a pipe; expected a file. Give a .keras or .h5 file."
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"hello, I am text\n", r"text beginning with b'hello, I am '"),
        (b"\x80\x04\x95", r"bytes beginning with b'\x80\x04\x95'"),
    ],
    ids=["text", "pickle"],
)
def test_other_file(content, what, tmp_path):
    path = tmp_path / "a.keras"
    path.write_bytes(content)

    assert message(open_model, path) == (
        f"{path}: it is neither a zip archive nor HDF5 but {what}; expected a .keras or .h5 file with a model. {SAVE}"
    )


@FORMATS
def test_truncated_file(suffix, saved, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(saved[0][suffix][: len(saved[0][suffix]) // 2])

    assert re.fullmatch(
        re.escape(f"{path}: it cannot be read (")
        + ".+"
        + re.escape("); expected a whole model file. ")
        + "It is damaged: copy it or save it again.",
        message(open_model, path),
    )


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:/x"])
def test_name_that_leads_out_of_the_archive(name, tmp_path):
    path = archive(tmp_path / "a.keras", {**members(), name: b""})

    assert message(open_model, path) == (
        f"{path}: it holds {name!r}, which leads out of the archive; expected names within it. "
        "It was not made by Keras: do not use it."
    )


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_archive_without_a_part(name, tmp_path):
    content = members()
    del content[name]
    path = archive(tmp_path / "a.keras", content)

    assert message(open_model, path) == (f"{path}: it holds no {name}; expected one, as in every .keras file. {SAVE}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archive_with_a_part_twice(tmp_path):
    path = archive(tmp_path / "a.keras", members())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("config.json", "{}")

    assert message(open_model, path) == (
        f"{path}: it holds 2 config.json; expected one, as in every .keras file. {SAVE}"
    )


@pytest.mark.parametrize("name", ["model.weights.npz", "model.weights.json"])
def test_weights_kept_in_another_way(name, tmp_path):
    content = members()
    del content["model.weights.h5"]
    path = archive(tmp_path / "a.keras", {**content, name: b""})

    assert message(open_model, path, error=UnsupportedError) == (
        f"{path}: its weights are in {name}; expected model.weights.h5. "
        f"rnncheck reads no pickled or divided weights. {SAVE}"
    )


def test_archive_that_unpacks_to_more_than_the_limit(tmp_path):
    path = archive(
        tmp_path / "a.keras", {**members(), "config.json": b" " * (17 << 20)}, compression=zipfile.ZIP_DEFLATED
    )

    assert message(open_model, path) == (
        f"{path}: config.json declares {17 << 20} bytes; expected no more than the {16 << 20} that it can hold. "
        "It is damaged or made up: save the model again."
    )


def declaring(path, size):
    """Change the size that the directory of an archive declares for config.json; return all that it declares then."""
    content = path.read_bytes()
    at = content.rindex(b"config.json") - 46  # its entry in the directory at the end
    path.write_bytes(content[: at + 24] + size.to_bytes(4, "little") + content[at + 28 :])
    with zipfile.ZipFile(path) as file:
        return sum(info.file_size for info in file.infolist())


def test_archive_that_declares_more_than_a_member_can_hold(tmp_path):
    path = archive(tmp_path / "a.keras", {**members(), "config.json": CONFIG})
    declaring(path, 10**6)

    most = 1100 * len(json.dumps(CONFIG))
    assert message(open_model, path) == (
        f"{path}: config.json declares 1000000 bytes; expected no more than the {most} that it can hold. "
        "It is damaged or made up: save the model again."
    )


def test_archive_whose_members_together_declare_too_much(tmp_path):
    path = archive(tmp_path / "a.keras", {**members(), "config.json": CONFIG, "assets/a": b""})
    declared = declaring(path, 2**27)

    assert message(open_model, path) == (
        f"{path}: it holds 4 members with {declared} bytes; expected at most 10000 members and {2**27} bytes, for a "
        "file of its size. It is damaged or made up: save the model again."
    )


def test_archive_may_be_as_large_as_it_can_be(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.keras", {**members(), "config.json": CONFIG})
    declaring(path, 1100 * len(json.dumps(CONFIG)))
    monkeypatch.setattr("rnncheck.frameworks.keras.files.modelfile._MEMBERS", 3)

    assert open_model(path).config == CONFIG


def test_archive_packed_in_an_unusual_way(tmp_path):
    path = archive(tmp_path / "a.keras", members(), compression=zipfile.ZIP_BZIP2)

    assert message(open_model, path) == (
        f"{path}: config.json is encrypted or packed in an unusual way; expected it plain or deflated. {SAVE}"
    )


NO_TEXT = "it is no JSON ({}); expected a description of a model."
NO_DESCRIPTIONS = {
    "broken": (b"{", NO_TEXT.format("Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")),
    "list": (b"[1]", "got list; expected an object."),
    "deep": (
        b'{"a": ' * 300 + b"1" + b"}" * 300,
        "it is nested more than 200 deep; expected a description of a model.",
    ),
    "absurdly deep": (b"[" * 50_000, "it is nested more than 200 deep; expected a description of a model."),
    "half a character": (
        b'{"class_name": "\\ud800"}',
        NO_TEXT.format("'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"),
    ),
    "no model": (b'{"config": {}}', "it has no class_name and config; expected the description of a model."),
}


@FORMATS
@pytest.mark.parametrize(("content", "what"), NO_DESCRIPTIONS.values(), ids=NO_DESCRIPTIONS)
def test_description_that_is_none(content, what, suffix, tmp_path):
    if suffix == ".keras":
        path = archive(tmp_path / "a.keras", {**members(), "config.json": content})
        where = f"{path}: config.json"
    else:
        path = legacy(tmp_path / "a.h5", lambda file: file.attrs.create("model_config", content))
        where = f"{path}: model_config"

    assert message(open_model, path) == f"{where}: {what} {SAVE}"


def test_description_that_is_no_text(tmp_path):
    path = archive(tmp_path / "a.keras", {**members(), "config.json": b"\xff\xff"})

    assert "config.json: it is no JSON ('utf-8' codec can't decode" in message(open_model, path)


@pytest.mark.parametrize("version", [3, "three", None], ids=repr)
def test_version_that_is_none(version, tmp_path):
    path = archive(tmp_path / "a.keras", members(version=version))

    assert message(open_model, path) == (
        f"{path}: metadata.json: the version of Keras is {version!r}; expected a version such as '3.15.1'. {SAVE}"
    )


def test_archive_whose_weights_are_no_hdf5(tmp_path):
    path = archive(tmp_path / "a.keras", {**members(), "model.weights.h5": b"no HDF5"})

    assert message(open_model, path).startswith(f"{path}: model.weights.h5: it cannot be read (")


@pytest.mark.parametrize("kind", ["keras 3", "keras 2"])
def test_weights_without_a_model(kind, tmp_path):
    path = tmp_path / "a.h5"
    if kind == "keras 3":
        path = tmp_path / "a.weights.h5"
        two_dense().save_weights(path)
    else:
        path.write_bytes(hdf5(lambda file: file.attrs.create("layer_names", [b"dense"])))

    assert message(open_model, path) == (
        f"{path}: it has weights, but no model that they belong to; expected a model saved whole. Give the model's "
        "description too, as its architecture: a .keras, .h5 or JSON file. Or save the whole model: "
        "model.save('model.keras')."
    )


def test_hdf5_of_something_else(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(hdf5(lambda file: file.create_dataset("x", data=[1.0])))

    assert message(open_model, path) == (
        f"{path}: it is HDF5 without the attribute model_config; expected a model saved by Keras. {SAVE}"
    )


def test_model_without_weights(tmp_path):
    path = legacy(tmp_path / "a.h5", lambda file: file.__delitem__("model_weights"))

    assert message(open_model(path).weights.read, [DENSE]) == (
        f"{path}: it describes a model, but has no weights of it; "
        f"expected the group model_weights with the attribute layer_names. {WHOLE}"
    )


def external_link(file, name):
    file[name] = h5py.ExternalLink("other.h5", "/x")


def soft_link(file, name):
    file[name] = h5py.SoftLink("/x")


@FORMATS
@pytest.mark.parametrize("link", [external_link, soft_link])
def test_link_to_elsewhere(link, suffix, tmp_path):
    other = tmp_path / "other.h5"
    other.write_bytes(hdf5(lambda file: file.create_dataset("x", data=np.ones(3))))
    path, where, name = dense_file(suffix, tmp_path, link)

    assert message(open_model(path).weights.read, [DENSE]) == (
        f"{where}: {name.split('/')[-1]!r} is a link to elsewhere; expected the weights themselves. "
        "rnncheck follows no links: save the model again."
    )


def dense_file(suffix, folder, put):
    """Write a file in which `put` makes the bias; return its path, what messages call it, and the bias' name."""
    if suffix == ".keras":

        def build(file):
            file["layers/dense/vars/0"] = np.ones((4, 3), np.float32)
            put(file, "layers/dense/vars/1")

        path = archive(folder / "a.keras", members(build))
        return path, f"{path}: model.weights.h5", "/layers/dense/vars/1"

    def replace(file):
        del file["model_weights/dense/dense/bias:0"]
        put(file, "model_weights/dense/dense/bias:0")

    path = legacy(folder / "a.h5", replace)
    return path, f"{path}", "/model_weights/dense/dense/bias:0"


def external_storage(file, name):
    file.create_dataset(name, (3,), np.float32, external=[("/etc/hostname", 0, 12)])


def virtual(file, name):
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_virtual_dataset(name, layout)


@FORMATS
@pytest.mark.parametrize("put", [external_storage, virtual])
def test_numbers_in_another_file(put, suffix, tmp_path):
    path, where, name = dense_file(suffix, tmp_path, put)

    assert message(open_model(path).weights.read, [DENSE]) == (
        f"{where}: {name} keeps its numbers in another file; expected them in this one. "
        "rnncheck opens no other file: save the model again."
    )


def never_written(file, name):
    file.create_dataset(name, (1 << 20, 1 << 20), np.float32)


def packed_without_content(file, name):
    file.create_dataset(name, (1 << 20, 1 << 20), np.float32, chunks=(64, 64), compression="gzip")


@FORMATS
@pytest.mark.parametrize("put", [never_written, packed_without_content])
def test_array_that_declares_more_than_the_file_holds(put, suffix, tmp_path):
    path, where, name = dense_file(suffix, tmp_path, put)

    assert message(open_model(path).weights.read, [DENSE]) == (
        f"{where}: {name} declares {4 << 40} bytes; expected no more than the 0 that the file can hold. "
        "It is damaged or made up: save the model again."
    )


@FORMATS
def test_packed_array_is_read(suffix, tmp_path):
    values = np.arange(3, dtype=np.float32)
    path, _, _ = dense_file(
        suffix,
        tmp_path,
        lambda file, name: file.create_dataset(name, data=values, compression="gzip", shuffle=True, fletcher32=True),
    )

    np.testing.assert_array_equal(open_model(path).weights.read([DENSE])[0]["bias"], values)


@FORMATS
def test_unusual_filter(suffix, tmp_path):
    path, where, name = dense_file(
        suffix, tmp_path, lambda file, name: file.create_dataset(name, data=np.ones(3, np.float32), compression="lzf")
    )

    assert message(open_model(path).weights.read, [DENSE]) == (
        f"{where}: {name} is packed with the HDF5 filters [32000]; expected none, or gzip. Save the model again."
    )


def test_group_that_contains_itself(tmp_path):
    def cycle(file):
        file["layers/dense/vars/0"] = np.ones(3, np.float32)
        file["layers/dense/again"] = file["layers"]

    path = archive(tmp_path / "a.keras", members(cycle))

    assert message(open_model(path).weights.read, [DENSE]).endswith(
        "is there under two names; expected one. Save the model again."
    )


def test_array_where_a_group_should_be(tmp_path):
    path = archive(tmp_path / "a.keras", members(lambda file: file.create_dataset("layers", data=[1.0])))

    assert message(open_model(path).weights.read, [DENSE]) == (
        f"{path}: model.weights.h5: /layers is no group; expected one. The file is damaged: save the model again."
    )


def outcome(path, owners):
    """Say what comes of a file; whatever is raised beyond the two errors makes the test fail."""
    try:
        weights = open_model(path).weights.read(owners)
    except (InputError, UnsupportedError) as error:
        return str(error)
    return [(name, weight.dtype.kind, weight.shape) for one in weights for name, weight in one.items()]


# What `two_dense` has: a damaged file may have other numbers, but no other arrays.
INTACT = [("kernel", "f", (4, 3)), ("bias", "f", (3,)), ("kernel", "f", (3, 2)), ("bias", "f", (2,))]


def is_read_or_refused(found):
    if isinstance(found, list):
        return found == INTACT
    return re.search(r"; expected .*[.:] .*[.)]$", found, re.DOTALL) is not None


@FORMATS
def test_whole_file_is_read(suffix, saved, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(saved[0][suffix])

    assert outcome(path, saved[1]) == INTACT


@FORMATS
def test_truncated_file_is_refused_wherever_it_ends(suffix, saved, rng, tmp_path):
    path = tmp_path / "a"
    content, owners = saved

    for end in rng.integers(0, len(content[suffix]) - 1, 60):
        path.write_bytes(content[suffix][:end])
        found = outcome(path, owners)

        assert isinstance(found, str)
        assert is_read_or_refused(found)


@FORMATS
@pytest.mark.parametrize("length", [1, 8], ids=["bytes", "words"])
def test_damaged_file_is_read_or_refused(length, suffix, saved, rng, tmp_path):
    path = tmp_path / "a"
    content, owners = saved

    for _ in range(100):
        path.write_bytes(damaged(content[suffix], length, rng))

        assert is_read_or_refused(outcome(path, owners))


def test_damaged_weights_in_an_intact_archive_are_read_or_refused(saved, rng, tmp_path):
    content, owners = saved
    with zipfile.ZipFile(io.BytesIO(content[".keras"])) as file:
        whole = {name: file.read(name) for name in file.namelist()}

    for _ in range(100):
        weights = damaged(whole["model.weights.h5"], 4, rng)
        path = archive(tmp_path / "a", {**whole, "model.weights.h5": weights})

        assert is_read_or_refused(outcome(path, owners))


def damaged(content, length, rng):
    start = int(rng.integers(0, len(content) - length))
    return content[:start] + rng.bytes(length) + content[start + length :]


def test_text_of_impossible_length_is_refused_before_hdf5_loops_over_it(tmp_path):
    path = legacy(tmp_path / "a.h5", lambda file: file.attrs.create("backend", "tensorflow"))
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL\x01")
    content[heap + 16 : heap + 32] = bytes(16)  # the first text: number 0, length 0
    path.write_bytes(content)

    assert message(open_model, path) == (
        f"{path}: it cannot be read (a text in it has an impossible length); expected a whole model file. "
        "It is damaged: copy it or save it again."
    )


# --- files as people have them ---


def rewritten(content, change):
    """An archive whose member of weights is copied group by group, with what `change` makes of their paths."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    copied = io.BytesIO()
    with h5py.File(io.BytesIO(members["model.weights.h5"])) as old, h5py.File(copied, "w") as new:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                new[change(name)] = item[()]

        old.visititems(copy)
    return members | {"model.weights.h5": copied.getvalue()}


@pytest.mark.parametrize("whole", [False, True], ids=["groups", "vars_too"])
def test_archive_that_was_written_on_windows(tmp_path, saved, whole):
    def with_backslashes(name):
        *outer, variables, number = name.split("/")
        return "\\".join([*outer, variables]) + f"/{number}" if whole else "\\".join(outer) + f"/{variables}/{number}"

    path = archive(tmp_path / "windows.keras", rewritten(saved[0][".keras"], with_backslashes))
    plain = tmp_path / "plain.keras"
    plain.write_bytes(saved[0][".keras"])

    for got, expected in zip(rnncheck.extract(path).layers, rnncheck.extract(plain).layers, strict=True):
        assert got.weights.keys() == expected.weights.keys()
        for name, weight in expected.weights.items():
            np.testing.assert_array_equal(got.weights[name], weight)


@pytest.mark.parametrize("version", ["2.3.0-tf", "2.2.4-tf", "3.0.0+local", "3.15.1"])
def test_version_with_a_suffix(tmp_path, saved, version):
    members = rewritten(saved[0][".keras"], lambda name: name)
    members["metadata.json"] = json.dumps({"keras_version": version}).encode()

    assert open_model(archive(tmp_path / "model.keras", members)).keras_version == version


def test_file_of_keras_1_says_what_to_do(tmp_path, saved):
    members = rewritten(saved[0][".keras"], lambda name: name) | {"metadata.json": b'{"keras_version": "1.2.2"}'}

    with pytest.raises(
        UnsupportedError, match=r"written by Keras 1\.2\.2; expected Keras 2 or 3\. Load it with Keras"
    ):
        open_model(archive(tmp_path / "model.keras", members))


def test_pointer_of_git_lfs_says_what_to_do(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n")

    with pytest.raises(InputError, match=r"it is a pointer of Git LFS.*Fetch it: git lfs pull"):
        open_model(path)


# --- descriptions of a few lines that stand for more than a machine holds ---


def called_twice(depth, dense):
    """A model in which each model calls the one inside it twice; the innermost is a Dense layer."""
    inner = dense
    for level in range(depth):
        name = inner["config"]["name"]

        def node(source, number, name=name):
            history = [source, number, 0]
            argument = {
                "class_name": "__keras_tensor__",
                "config": {"shape": [None, 2], "dtype": "float32", "keras_history": history},
            }
            return {"args": [argument], "kwargs": {}}

        part = {**inner, "name": name, "inbound_nodes": [node("x", 0), node(name, 0)]}
        entry = {
            "class_name": "InputLayer",
            "module": "keras.layers",
            "registered_name": None,
            "config": {"batch_shape": [None, 2], "dtype": "float32", "name": "x"},
            "name": "x",
            "inbound_nodes": [],
        }
        inner = {
            "class_name": "Functional",
            "module": "keras",
            "registered_name": "Functional",
            "config": {
                "name": f"level_{level}",
                "layers": [entry, part],
                "input_layers": [["x", 0, 0]],
                "output_layers": [[name, 2 if level else 1, 0]],  # Keras counts the making of a model as a call
            },
        }
    return inner


@pytest.mark.few(1)
@pytest.mark.parametrize("depth", [14, 30])
def test_nested_models_that_stand_for_too_many_layers(tmp_path, saved, depth):
    members = rewritten(saved[0][".keras"], lambda name: name)
    *_, dense = json.loads(members["config.json"])["config"]["layers"]
    members["config.json"] = json.dumps(called_twice(depth, dense)).encode()
    path = archive(tmp_path / "model.keras", members)

    with pytest.raises(InputError, match="got more than 10,000 layers once nested models are written out"):
        rnncheck.extract(path)


@pytest.mark.parametrize(
    ("make", "option", "value", "expected"),
    [
        ("ZeroPadding2D", "padding", [[1, 2], [3, -1]], "2 pairs of integers from 0 to 16777216"),
        ("ZeroPadding2D", "padding", "same", "2 pairs of integers from 0 to 16777216"),
        ("Cropping2D", "cropping", 2**24 + 1, "2 pairs of integers from 0 to 16777216"),
        ("UpSampling2D", "size", [2**10, 2**11], "2 positive integers whose product is 1048576 at most"),
        ("MaxPooling2D", "strides", None, "2 positive integers whose product is 1048576 at most"),
        ("MaxPooling2D", "pool_size", [2, 2, 2], "2 positive integers whose product is 1048576 at most"),
        ("MaxPooling2D", "padding", "causal", "valid or same"),
        ("MaxPooling2D", "data_format", None, "channels_last or channels_first"),
        ("GroupNormalization", "axis", [1, 2], "an integer"),
    ],
)
def test_option_of_space_that_is_none(tmp_path, make, option, value, expected):
    import keras

    arguments = (1,) if make == "GroupNormalization" else ()
    model = keras.Sequential([keras.Input((8, 8, 1)), getattr(keras.layers, make)(*arguments, name="a")])
    model.save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"][option] = value
    path = archive(tmp_path / "model.keras", members | {"config.json": json.dumps(config).encode()})

    said = message(rnncheck.extract, path)

    assert said.startswith(f"layer 'a': got {option}=")
    assert said.endswith(f"; expected {expected}.")


@pytest.mark.parametrize("size", [10**9, [2**20, 2**20], 2**64])
def test_window_that_no_machine_holds(tmp_path, size):
    import keras

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.MaxPooling2D(2), keras.layers.Flatten()])
    if not isinstance(size, list):
        model = keras.Sequential([keras.Input((8, 1)), keras.layers.MaxPooling1D(2), keras.layers.Flatten()])
    model.save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["pool_size"] = size
    path = archive(tmp_path / "model.keras", members | {"config.json": json.dumps(config).encode()})

    with pytest.raises((InputError, UnsupportedError), match=r"(pool_size|MaxPooling2D)"):
        rnncheck.extract(path)


# --- files that take more than they have: all of them together, in a process whose memory is measured ---


def sequential(shape, *layers):
    """The description of a Sequential model of these layers."""
    described = [("InputLayer", {"batch_shape": shape, "name": "x"}), *layers]
    objects = [
        {"class_name": kind, "module": "keras.layers", "config": {"name": f"l{k}", "dtype": "float32", **config}}
        for k, (kind, config) in enumerate(described)
    ]
    return {"class_name": "Sequential", "config": {"name": "m", "layers": objects}}


ONE_DENSE = sequential([None, 4], ("Dense", {"name": "dense", "units": 3, "activation": "linear", "use_bias": False}))


def sized(folder, name, *described):
    return archive(folder / name, members(lambda file: None, config=sequential(*described)))


def text_of_4_gigabytes(folder, address=None, **how):
    """An attribute whose text declares 4 GiB, for which HDF5 makes room before it looks."""
    path = legacy(folder / "text.h5", **how)
    content = bytearray(path.read_bytes())
    reference = len(json.dumps(CONFIG)).to_bytes(4, "little") + content.index(b"GCOL").to_bytes(8, "little")
    assert reference in content
    made_up = (2**32 - 2).to_bytes(4, "little") + (address or reference[4:])
    path.write_bytes(content.replace(reference, made_up))
    return path


def text_of_4_gigabytes_nowhere(folder):
    return text_of_4_gigabytes(folder, address=b"\xa5" * 8)


def text_of_4_gigabytes_in_a_new_form(folder):
    return text_of_4_gigabytes(folder, address=b"\xa5" * 8, libver="latest")


def zeros_in(folder, name, how, compression):
    def build(file):
        file.create_dataset("layers/dense/vars/0", data=np.zeros((2**12, 10_000), np.float32), **how)

    return archive(folder / name, members(build, config=ONE_DENSE), compression=compression, compresslevel=1)


def packed_twice(folder):
    return zeros_in(folder, "twice.keras", {"compression": 1, "chunks": (2**10, 10_000)}, zipfile.ZIP_DEFLATED)


def packed(folder):
    return zeros_in(folder, "packed.keras", {}, zipfile.ZIP_DEFLATED)


def many_members(folder):
    return archive(folder / "members.keras", {**members(), **{f"assets/{k}": b"" for k in range(10_000)}})


def many_groups(folder):
    def build(file):
        for k in range(21_000):
            file.create_group(f"layers/{k}")

    return archive(folder / "groups.keras", members(build, config=ONE_DENSE), compression=zipfile.ZIP_DEFLATED)


def deep_groups(folder):
    def build(file):
        file.create_group("/".join(["a"] * 5_000))

    return archive(folder / "deep.keras", members(build, config=ONE_DENSE), compression=zipfile.ZIP_DEFLATED)


def huge_datatype(folder):
    def build(file):
        text = h5py.h5t.C_S1.copy()
        text.set_size(2**31)
        group = file.create_group("layers/dense/vars")
        h5py.h5d.create(group.id, b"0", text, h5py.h5s.create_simple((2**30,)))

    return archive(folder / "datatype.keras", members(build, config=ONE_DENSE))


def arrays_inside_an_array(folder):
    def build(file):
        numbers = h5py.h5t.array_create(h5py.h5t.IEEE_F32LE, (2**20, 2**8))
        group = file.create_group("layers/dense/vars")
        h5py.h5d.create(group.id, b"0", numbers, h5py.h5s.create_simple((2,)))

    return archive(folder / "arrays.keras", members(build, config=ONE_DENSE))


def integer_of_many_digits(folder):
    content = json.dumps(CONFIG).replace("[]", "9" * 6000).encode()
    return archive(folder / "digits.keras", {**members(), "config.json": content})


def input_no_machine_holds(folder):
    return sized(folder, "input.keras", [None, 10**6, 10**6], ("Flatten", {}))


def repeated_without_end(folder):
    return sized(folder, "repeated.keras", [None, 1000], ("RepeatVector", {"n": 2**24}))


def pooled_without_end(folder):
    pooling = {"pool_size": 2**20, "strides": 1, "padding": "same"}
    return sized(folder, "pooled.keras", [None, 10_000, 4], ("MaxPooling1D", pooling))


def turned_without_end(folder):
    return sized(folder, "turned.keras", [None, 2**12, 2**10], *[("Permute", {"dims": [2, 1]})] * 500)


ATTACKS = {
    text_of_4_gigabytes: "a text in it declares 4294967294 bytes",
    text_of_4_gigabytes_nowhere: "a text in it declares 4294967294 bytes",
    text_of_4_gigabytes_in_a_new_form: "a text in it declares 4294967294 bytes",
    packed_twice: "/layers/dense/vars/0 declares 163840000 bytes; expected no more than the 134217728",
    packed: "it holds 3 members with 16",
    many_members: "it holds 10003 members",
    many_groups: "got more than 20000 groups",
    deep_groups: "more than 200 inside each other",
    huge_datatype: "model.weights.h5: ",
    arrays_inside_an_array: "/layers/dense/vars/0 declares 2147483648 bytes",
    integer_of_many_digits: "it is no JSON (Exceeds the limit (4300 digits)",
    input_no_machine_holds: "input 'x': got shape (2, 1000000, 1000000)",
    repeated_without_end: "layer 'l1': got sizes for which a run on two samples holds",
    pooled_without_end: "layer 'l1': got sizes for which its windows read or make",
    turned_without_end: "got sizes for which a run on two samples holds",
}

# Reads what is named on the command line; prints what it was refused with, and the most memory that this took.
READ_ALL = """
import resource, sys
import h5py, rnncheck

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        rnncheck.extract(path)
        print("read")
    except rnncheck.RnncheckError as error:
        print(ascii(str(error)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_files_that_take_more_than_they_have_are_refused(tmp_path):
    paths = [make(tmp_path) for make in ATTACKS]

    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, paths)], capture_output=True, text=True, check=True, timeout=100
    )

    *said, kibibytes = done.stdout.splitlines()
    for line, (make, expected) in zip(said, ATTACKS.items(), strict=True):
        assert expected in line, make.__name__
    assert int(kibibytes) < 500 * 1000


@pytest.mark.parametrize(
    ("of_file", "of_weights", "found"),
    [("2.15.0", None, "2.15.0"), (None, "2.2.4", "2.2.4"), ("3.15.1", "2.2.4", "3.15.1"), (None, None, "")],
)
def test_version_is_that_of_the_file_or_else_that_of_its_weights(tmp_path, of_file, of_weights, found):
    path = tmp_path / "a.h5"
    two_dense().save(path)
    with h5py.File(path, "r+") as file:
        for group, version in ((file, of_file), (file["model_weights"], of_weights)):
            group.attrs.pop("keras_version", None)
            if version:
                group.attrs["keras_version"] = version

    assert open_model(path).keras_version == found


def longer(path, size):
    """A file that ends in a hole."""
    with path.open("r+b") as file:
        file.truncate(size)
    return path


def test_h5_larger_than_memory_is_refused(tmp_path):
    two_dense().save(tmp_path / "a.h5")
    path = longer(tmp_path / "a.h5", (4 << 30) + 1)

    assert message(open_model, path, error=UnsupportedError) == (
        f"{path}: it has 4294967297 bytes; expected no more than 4294967296. Save the model without its optimizer: "
        "model.save(..., include_optimizer=False)."
    )


def test_description_of_the_length_of_a_book_is_refused(tmp_path):
    two_dense().save_weights(tmp_path / "a.weights.h5")
    (tmp_path / "a.json").write_text("{}")
    path = longer(tmp_path / "a.json", (16 << 20) + 1)

    assert message(open_model, tmp_path / "a.weights.h5", path) == (
        f"{path}: it has 16777217 bytes; expected JSON of 16777216 at most. {SAVE}"
    )
    assert "it is no JSON" in message(open_model, tmp_path / "a.weights.h5", longer(path, 16 << 20))


def test_description_that_is_nested_without_end_is_refused(tmp_path):
    two_dense().save_weights(tmp_path / "a.weights.h5")
    path = tmp_path / "a.json"

    def said(lists):
        path.write_text('{"a": ' + "[" * lists + "]" * lists + "}")
        return message(open_model, tmp_path / "a.weights.h5", path)

    assert said(100) == f"{path}: it has no class_name and config; expected the description of a model. {SAVE}"
    for lists in (200, 100_000):
        assert said(lists) == f"{path}: it is nested more than 200 deep; expected a description of a model. {SAVE}"


def test_every_option_that_is_checked_has_a_form():
    from rnncheck.frameworks.keras.config.entries import ENTRIES
    from rnncheck.frameworks.keras.config.values import check_form

    for kind, entry in ENTRIES.items():
        for option in (*entry.checked, *entry.inherited):
            assert "; expected " in message(check_form, "a", option, object(), kind)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("target_shape", [1.5], "integers"),
        ("axis", [], "an integer or several"),
        ("axis", True, "an integer or several"),
        ("epsilon", float("nan"), "a finite number"),
        ("epsilon", 10**400, "a finite number"),
        ("max_value", "6", "a finite number or None"),
        ("units", 2.0, "a positive integer up to 16777216"),
        ("padding", {}, "valid, same or causal"),
        ("score_mode", None, "dot or concat"),
    ],
    ids=str,
)
def test_option_of_another_form_is_refused(option, value, expected):
    from rnncheck.frameworks.keras.config.values import check_form

    assert (
        message(check_form, "a", option, value, "Conv1D")
        == f"layer 'a': got {option}={value!r}; expected {expected}."
    )


A_SIZE, A_FLAG, A_NUMBER = "a positive integer up to 16777216", "True or False", "a finite number"
ALONG_ONE = "1 positive integers whose product is 1048576 at most"
ALONG_TWO = "2 positive integers whose product is 1048576 at most"
PAIRS = "2 pairs of integers from 0 to 16777216"
LARGEST = sys.float_info.max


@pytest.mark.parametrize(
    ("kind", "option", "accepted", "refused", "expected"),
    [
        ("LSTM", "units", [1, 2**24], [0, 2**24 + 1, True, 3.0, "3", None], A_SIZE),
        ("Conv1D", "filters", [1, 2**24], [0, 2**24 + 1, False], A_SIZE),
        ("RepeatVector", "n", [1], [0, -1], A_SIZE),
        ("GroupNormalization", "groups", [1], [-1, 0], A_SIZE),
        ("Conv1D", "kernel_size", [(1,), (2**20,)], [(), (0,), (2**20 + 1,), (1, 1), 3, [3], (True,)], ALONG_ONE),
        ("Conv2D", "strides", [(2**10, 2**10)], [(1,), (2**10, 2**10 + 1), (1, 1, 1)], ALONG_TWO),
        ("MaxPooling1D", "pool_size", [(2**20,)], [(2**20 + 1,)], ALONG_ONE),
        ("UpSampling2D", "size", [(1, 2)], [(0, 2)], ALONG_TWO),
        ("Conv1D", "padding", ["valid", "same", "causal"], ["full", None], "valid, same or causal"),
        ("SeparableConv1D", "padding", ["causal"], ["Same"], "valid, same or causal"),
        ("Conv2D", "padding", ["valid", "same"], ["causal"], "valid or same"),
        ("DepthwiseConv1D", "padding", ["valid", "same"], ["causal"], "valid or same"),
        ("ZeroPadding2D", "padding", [((0, 2**24), (1, 2))], [
            ((0, 2**24 + 1), (1, 2)), ((-1, 0), (0, 0)), ((0, 0),), ((0,), (0, 0)), ((0, 0, 0), (0, 0)), 1,
            ((0, 0.0), (0, 0)),
        ], PAIRS),
        ("Cropping2D", "cropping", [((0, 0), (0, 1))], [((0, 0), (0, -1)), (1, 1)], PAIRS),
        ("Conv1D", "data_format", ["channels_last", "channels_first"], ["channels", None],
         "channels_last or channels_first"),
        ("Attention", "score_mode", ["dot", "concat"], ["sum"], "dot or concat"),
        ("Bidirectional", "merge_mode", [None, "sum"], [3, []], "a word or None"),
        ("Reshape", "target_shape", [(), (-1, 2)], [(1.0,), 3, [3], (True,)], "integers"),
        ("Permute", "dims", [(2, 1)], ["21"], "integers"),
        ("Softmax", "axis", [-1, (1, 2)], [(), None, True, 1.0, (1, None)], "an integer or several"),
        ("Dot", "axes", [1, (1, 2)], [()], "an integer or several"),
        ("GroupNormalization", "axis", [-1], [(1,), True, None], "an integer"),
        ("PReLU", "shared_axes", [None, (1,)], [(), "1"], "integers or None"),
        ("ReLU", "max_value", [None, 6, LARGEST], [float("inf"), "6", True], "a finite number or None"),
        ("LSTM", "stateful", [True, False], [0, 1, None, "no"], A_FLAG),
        ("LayerNormalization", "epsilon", [0, 1e-3, -LARGEST], [float("nan"), -float("inf"), None, False], A_NUMBER),
        ("Masking", "mask_value", [0.0], ["0"], A_NUMBER),
        ("LSTM", "activation", [rnncheck.Activation("tanh")], ["tanh", None], "an activation"),
        ("", "value", [True, 0.5], [None, "x", float("inf")], A_NUMBER),
        ("", "dtype", ["int8", "bfloat16", "bool"], ["string", None, 3], "a format of numbers"),
    ],
)  # fmt: skip
def test_option_has_the_form_that_it_has_to_have(kind, option, accepted, refused, expected):
    from rnncheck.frameworks.keras.config.values import check_form

    for value in accepted:
        check_form("a", option, value, kind)
    for value in refused:
        assert message(check_form, "a", option, value, kind) == (
            f"layer 'a': got {option}={value!r}; expected {expected}."
        )


@pytest.mark.parametrize("shape", [[None, -1], [None, 0], [None, 2.0], [None, True], [], "ab", {"a": 1}], ids=str)
def test_shape_of_an_input_that_is_none(shape, tmp_path):
    path = sized(tmp_path, "a.keras", shape, ("Flatten", {}))
    written = tuple(shape) if isinstance(shape, list) else shape

    assert message(rnncheck.extract, path) == (
        f"input 'x': got batch_shape={written!r}; expected batch_shape, with positive integers or None. "
        "Save the model again."
    )


def test_dtype_of_an_input_that_is_none(tmp_path):
    config = sequential([None, 4], ("Flatten", {}))
    config["config"]["layers"][0]["config"]["dtype"] = "string"
    path = archive(tmp_path / "a.keras", members(lambda file: None, config=config))

    assert message(rnncheck.extract, path, error=UnsupportedError) == (
        "layer 'x': dtype policy 'string' is not replayed; expected one that computes in float64, float32, float16, "
        "bfloat16."
    )


def test_input_of_a_size_that_a_layer_does_not_take(tmp_path):
    layers = [("Reshape", {"target_shape": [3, 2]})]
    network = rnncheck.extract(sized(tmp_path, "a.keras", [None, 2, 3], *layers))
    open_steps = rnncheck.Network(
        "open", (rnncheck.InputSpec("x", (None, 3), "float32"),), network.layers, network.outputs
    )

    assert message(rnncheck.replay, open_steps, np.ones((2, 5, 3))) == (
        "layer 'l1': got shapes that do not fit together (cannot reshape array of size 15 into shape (1,3,2)); "
        "expected ones that do. The inputs are 'x' (2, 5, 3)."
    )
