"""What can be checked: a case, a model file, a model in this process, or equations alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnncheck.cases.case import Case
from rnncheck.equations.shapes import rehearse
from rnncheck.errors import InputError, RnncheckError, UnsupportedError, described, escaped
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.frameworks.keras.files.modelfile import ModelFile, open_model
from rnncheck.frameworks.keras.session import forget_models
from rnncheck.frameworks.onnx.file import is_onnx
from rnncheck.frameworks.onnx.run import OnnxRunner
from rnncheck.frameworks.torch import state_dict
from rnncheck.frameworks.torch.extract import is_module
from rnncheck.frameworks.torch.run import TorchRunner
from rnncheck.network import Activation, Array, Network

Calls = tuple[tuple[Array, ...], ...]  # the inputs of each call in a row


@dataclass(frozen=True, eq=False)
class Subject:
    """What is checked."""

    name: str  # in a report
    network: Network | None  # its equations; None for a case, which is built when it runs
    # A Case, a ModelFile, a Keras model, or what runs without Keras; None for equations alone, which do not run.
    model: Any = None
    notes: tuple[str, ...] = ()  # what a reader of the report must know about it

    @staticmethod
    def of(
        model: Any, architecture: str | os.PathLike[str] | None = None, *, unchecked: str | None = None
    ) -> Subject:
        """Open a Case, a Network, a Keras model, a PyTorch module, or a file of Keras or ONNX by its path.

        See `open_model` for an architecture. With unchecked="allow", a layer of Keras that is not replayed becomes
        one of the kind `UNCHECKED`; with "refuse", the refusal of one names that option.

        Raises:
            InputError: the file cannot be read.
            UnsupportedError: the model has something that rnncheck does not replay.
        """
        if unchecked not in {None, "refuse", "allow"}:
            raise InputError(f"unchecked: got {unchecked!r}; expected 'refuse' or 'allow'.")
        if architecture is not None and not isinstance(model, str | os.PathLike):
            raise InputError(
                "architecture: got it without a file; expected the path of a file of weights as the model."
            )
        if isinstance(model, Case):
            return Subject(str(model), None, model)
        if isinstance(model, Network):
            return Subject(model.name, model)
        if unchecked == "allow":
            return _opened(model, architecture, lenient=True)
        try:
            return _opened(model, architecture)
        except UnsupportedError as refusal:
            if unchecked is not None and _opens_leniently(model, architecture):
                raise UnsupportedError(
                    f"{refusal} With unchecked set to allow, the other layers are checked."
                ) from refusal
            raise

    @property
    def equations(self) -> Network:
        """The network; an InputError for a case, which has none yet."""
        if self.network is None:
            raise InputError(
                f"got the case {self.name}; expected a Network, a Keras model or a file. Build the model first: "
                "rnncheck.build(case).model."
            )
        return self.network

    @property
    def runner(self) -> TorchRunner | OnnxRunner | None:
        """What runs it without Keras; None for what Keras runs, and for equations alone."""
        return self.model if isinstance(self.model, TorchRunner | OnnxRunner) else None

    @property
    def origin(self) -> str:
        """Where the file is from: the program that wrote it, and of ONNX what it made of recurrent layers."""
        if self.model is None:
            return "the weights of a PyTorch module"
        if isinstance(self.model, OnnxRunner):
            file = self.model.file
            became = ", ".join(f"{count} {kind}" for kind, count in file.recurrent.items()) or "none"
            return f"written by {file.producer}; its recurrent layers: {became}"
        return f"written by Keras {self.model.keras_version or 'of an unknown version'}"

    def noting(self, note: str) -> Subject:
        """Return the same with one more note, if there is one."""
        return replace(self, notes=(*self.notes, note)) if note else self

    def used_as(self, way: str) -> Subject:
        """Return the same under the name of a way to use it, on inputs of its own."""
        return replace(self, name=f"{self.name}, {way}", notes=())

    def saved_in(self, folder: Path) -> Subject:
        """Return a subject that other processes can load: a model in this process becomes a file."""
        if self.model is None or isinstance(self.model, Case | ModelFile):
            return self
        if self.runner is not None:
            raise InputError(f"backends: got them with {self.runner.what}; expected none: these are Keras' backends.")
        path = folder / "model.keras"
        try:
            self.model.save(path)
        except Exception as error:
            raise InputError(
                f"{self.name}: got a model that Keras cannot save ({described(error)}); expected one that can be "
                "saved, because other backends load it in processes of their own."
            ) from error
        return replace(self, model=open_model(path))

    @contextmanager
    def in_keras(self, calls: Calls = ()) -> Iterator[tuple[Any, Network, Calls]]:
        """Yield a Keras model, its equations, and the inputs of each call; a case brings its own."""
        if isinstance(self.model, Case):
            from rnncheck.frameworks.keras.build import build
            from rnncheck.frameworks.keras.extract import extract

            try:
                built = build(self.model)
                yield built.model, extract(built.model), built.calls
            finally:
                # Otherwise Keras numbers the layers of the next case on from here.
                forget_models()
        elif isinstance(self.model, ModelFile):
            yield _loaded(self.model, self.equations.unchecked), self.equations, calls
        else:
            yield self.model, self.equations, calls


def _opened(model: Any, architecture: str | os.PathLike[str] | None, *, lenient: bool = False) -> Subject:
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        if is_onnx(path):
            if architecture is not None:
                raise InputError("architecture: got it with an ONNX file; expected none: the file has its own.")
            of_onnx = OnnxRunner.of(path)
            return Subject(escaped(path.name), of_onnx.reading.network, of_onnx, of_onnx.file.notes)
        if path.suffix.lower() in {*state_dict.SUFFIXES, *state_dict.PICKLES}:
            found = state_dict.read_file(path)
            return Subject(found.network.name, found.network, notes=found.notes)
        file, network = open_network(path, None if architecture is None else Path(architecture), lenient=lenient)
        return Subject(escaped(path.name), network, file, notes_on(network, file.keras_version))
    if state_dict.is_state_dict(model):
        found = state_dict.read(model)
        return Subject(found.network.name, found.network, notes=found.notes)
    if is_module(model):
        runner = TorchRunner.of(model)
        return Subject(runner.reading.network.name, runner.reading.network, runner)
    from rnncheck.frameworks.keras.extract import extract

    network = rehearse(extract(model, lenient=lenient))
    return Subject(network.name, network, model)


def _opens_leniently(model: Any, architecture: str | os.PathLike[str] | None) -> bool:
    try:
        return bool(_opened(model, architecture, lenient=True))
    except RnncheckError:
        return False


def _loaded(file: ModelFile, unchecked: Mapping[str, str]) -> Any:
    import keras

    from rnncheck.frameworks.keras.load import load

    try:
        return load(file)
    except Exception as error:
        if unchecked:
            names = ", ".join(f"{name!r} ({kind})" for name, kind in unchecked.items())
            raise InputError(
                f"{file.path}: Keras cannot load it ({described(error)}); expected a model that it can, for layers "
                f"that are not checked have to run: {names}. If a class is your own, import it in Python, and call "
                "rnncheck.verify(path, unchecked='allow')."
            ) from error
        # Keras reads older files, but not all newer ones.
        if _version(file.keras_version) <= _version(keras.__version__):
            raise
        raise InputError(
            f"{file.path}: got a file that Keras {file.keras_version} wrote and Keras {keras.__version__} cannot "
            f"load ({described(error)}); expected one that the installed Keras can. Install Keras "
            f"{file.keras_version} or a newer one."
        ) from error


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def open_network(path: Path, architecture: Path | None = None, *, lenient: bool = False) -> tuple[ModelFile, Network]:
    """Open a model file and read its network, of which the shapes fit together; see `open_model` and `read`."""
    file = open_model(path, architecture)
    try:
        return file, rehearse(read(file.config, file.weights, file.keras_version, lenient=lenient))
    except RnncheckError as error:
        if architecture is None:
            raise
        raise InputError(f"{path}, with the architecture of {architecture}: {error}") from error


def notes_on(network: Network, keras_version: str) -> tuple[str, ...]:
    """Say where the Keras that wrote a file computed something else than today's."""
    activations = {
        value.name for layer in network.layers for value in layer.options.values() if isinstance(value, Activation)
    }
    if "hard_sigmoid_keras2" not in activations:
        return ()
    note = (
        f"the file was written by Keras {keras_version}, whose hard_sigmoid is 0.2x + 0.5; that is what is expected. "
        "Keras 3 computes x/6 + 0.5 when it loads the file: a mismatch here says that the model changed."
    )
    return (note,)
