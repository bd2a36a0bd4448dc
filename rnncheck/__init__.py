"""Check whether a recurrent network computes what its equations say.

    import rnncheck

    report = rnncheck.verify(model, inputs)
    report.raise_for_mismatch()

Importing this loads NumPy and no framework; TensorFlow and Keras are imported where a model is built, read or run.
"""

from rnncheck.builder import Built, build
from rnncheck.case import NOTEBOOK, Case
from rnncheck.comparator import Row, Verdict
from rnncheck.errors import InputError, RnncheckError, UnsupportedError
from rnncheck.extractor import extract
from rnncheck.network import Activation, InputSpec, Layer, Network, Tensor
from rnncheck.replay import Replayed
from rnncheck.report import Entry, MismatchError, Report
from rnncheck.verify import compare, replay, verify
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
    "MismatchError",
    "Network",
    "Replayed",
    "Report",
    "RnncheckError",
    "Row",
    "Tensor",
    "UnsupportedError",
    "Verdict",
    "__version__",
    "build",
    "compare",
    "extract",
    "replay",
    "verify",
]
