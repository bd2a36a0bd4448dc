"""Check whether a recurrent network computes what its equations say.

    import rnncheck

    report = rnncheck.verify(model, inputs)
    report.raise_for_mismatch()

Importing this loads NumPy and no framework; TensorFlow and Keras are imported where a model is built, read or run.
"""

from rnncheck import startup  # noqa: F401 - before all else
from rnncheck.api import compare, extract, replay, verify, walk
from rnncheck.cases.case import NOTEBOOK, Case
from rnncheck.checks.verdicts import Row, Verdict
from rnncheck.equations.replay import Replayed
from rnncheck.errors import InputError, RnncheckError, UnsupportedError
from rnncheck.frameworks.keras.build import Built, build
from rnncheck.network import Activation, InputSpec, Layer, Network, Tensor
from rnncheck.report.entry import Entry
from rnncheck.report.report import MismatchError, Report, UndecidableError
from rnncheck.report.walk_table import LayerWalk, Walk
from rnncheck.version import __version__

__all__ = [
    "NOTEBOOK",
    "Activation",
    "Built",
    "Case",
    "Entry",
    "InputError",
    "InputSpec",
    "Layer",
    "LayerWalk",
    "MismatchError",
    "Network",
    "Replayed",
    "Report",
    "RnncheckError",
    "Row",
    "Tensor",
    "UndecidableError",
    "UnsupportedError",
    "Verdict",
    "Walk",
    "__version__",
    "build",
    "compare",
    "extract",
    "replay",
    "verify",
    "walk",
]
