"""Whole reports, walks, tables and pictures as they are shown, to be held against those that were kept.

    make figures

So what a change does to all that people see stands in its diff, and whoever makes one looks at it there.
"""

import io
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from click.testing import CliRunner
from judgements import with_faults
from onnx_nodes import AROUND, around, random_node
from onnx_package import foldings, readings
from reference import make_bidirectional, make_inputs, make_network
from rich.console import Console

import rnncheck
from rnncheck.cases.case import MASKS
from rnncheck.cases.grid import default_grid
from rnncheck.cases.inputs import make_mask, random_inputs
from rnncheck.cli import cli
from rnncheck.equations.formats import in_format
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.emulation import emulate
from rnncheck.frameworks.keras.config.entries import keras_defaults
from rnncheck.report.curves import curves_of
from rnncheck.report.entry import Difference
from rnncheck.report.markdown import to_markdown
from rnncheck.report.network_table import layer_lines, print_network
from rnncheck.report.notebook import network_html, replayed_html
from rnncheck.report.outcomes import Control, Outcome, SelfTest
from rnncheck.report.plot import picture_names, plot
from rnncheck.report.program import numpy_program
from rnncheck.report.report import Report
from rnncheck.report.tables import print_report, print_self_test
from rnncheck.report.walk_table import print_walk

KEPT = Path(__file__).parent / "screens"
ROOT = Path(__file__).parent.parent
FILES = sorted(file for kind in ("h5", "keras") for file in (ROOT / "fixtures").rglob(f"*.{kind}"))

LSTM = make_network(T=4, D=2, M=3, K=2, kind="LSTM")
SIMPLE = make_network(T=4, D=2, M=3, K=2)
BOTH = make_bidirectional(T=4, D=2, M=3, merge_mode="concat", backward="gru", mask=True, dtype="float32")
LONG = make_network(T=150, D=2, M=10, K=None, kind="GRU", return_sequences=True)
CHAOTIC = make_network(T=150, D=2, M=8, K=2, recurrent_scale=4.0)
STATEFUL = make_network(T=3, D=2, M=2, K=1, kind="GRU", stateful=True, mask=True)


def compared(network, *faults, N=3, states=True, change=lambda array: array, calls=1, stated=None, **options):
    """The report of a run that has faults, each (name, layer), and whose outputs were changed at the end."""
    inputs = [make_inputs(network, N, seed=seed) for seed in range(calls)]
    told = []
    for run in emulate(with_faults(network, *faults), inputs):
        shown = {name: change(h) for name, h in run.states.items()} if states else {}
        told.append((run.inputs, tuple(map(change, run.outputs)), shown))
    (given, outputs, shown), *further = told
    return rnncheck.compare(stated or network, given, outputs, states=shown, further=further, **options)


def off_in_one_place(array):
    array = array.copy()
    array[0, -1] += 0.25
    return array


def without_pictures(entry):
    """The entry as it comes from another process."""
    return replace(entry, network=None, recordings=())


# A report of every kind.
REPORTS = {
    "match": lambda: compared(LSTM, blind_spots=True),
    "match of outputs": lambda: compared(LSTM, N=1, states=False, rtol=1e-5, atol=1e-6),
    "match of two calls": lambda: compared(STATEFUL, calls=2),
    "gates in another order": lambda: compared(LSTM, ("gate_order_iofc", "rnn")),
    "without states": lambda: compared(LSTM, ("forget_bias_added", "rnn"), states=False, rtol=1e-5, atol=1e-6),
    "two layers": lambda: compared(BOTH, ("bias_dropped", "both/forward"), ("update_gate_inverted", "both/backward")),
    "many samples and steps": lambda: compared(LONG, ("state_halved", "rnn"), N=17),
    "one sample": lambda: compared(LONG, ("recurrent_kernel_transposed", "rnn"), N=1),
    "six digits": lambda: compared(LSTM, change=np.vectorize(lambda x: float(f"{x:.6g}"))),
    "simple rnn": lambda: compared(SIMPLE, ("recurrent_kernel_transposed", "rnn")),
    "chaotic with states": lambda: compared(CHAOTIC),
    "unknown": lambda: compared(LSTM, change=off_in_one_place),
    "not finite": lambda: compared(LSTM, change=lambda array: np.where(array > 0.2, np.nan, array)),
    "float16": lambda: compared(in_format(LSTM, "float16"), stated=LSTM),
    "undecidable": lambda: compared(CHAOTIC, states=False),
    "nothing": Report,
}


def of_everything():
    """The report of all the others' entries, interrupted."""
    entries = [replace(entry, name=name) for name in REPORTS for entry in report_of(name).entries]
    return Report({}, tuple(map(without_pictures, entries)), interrupted=True)


def of_backends_and_paths():
    """The report of a case on two backends and two paths."""
    right, wrong = (report_of(name).entries[0] for name in ("match", "gates in another order"))
    ways = [
        replace(without_pictures(entry), name="a case", backend=backend, path=path, reproduce="rnncheck verify")
        for path in ("predict", "jit")
        for entry, backend in ((right, "jax"), (wrong, "torch"))
    ]
    return Report({}, tuple(ways), differences=(Difference("a case", ("jax", "torch"), 0.125, "predict"),))


@cache
def report_of(name):
    """A report of a kind, with the environment of no machine."""
    return replace({**REPORTS, **OF_SEVERAL}[name](), environment={"numpy": "2"})


# Those that are kept as a page, too.
PAGES = ("two layers", "several", "backends and paths")

OF_SEVERAL = {"several": of_everything, "backends and paths": of_backends_and_paths}
NETWORKS = {"lstm": LSTM, "both directions": BOTH, "many steps": LONG}

SCREENS = (*REPORTS, *OF_SEVERAL, *(f"network of {name}" for name in NETWORKS), "lists", "files", "onnx nodes")


def screen(name):
    """Return all that is shown of something."""
    if name == "lists":
        views = {
            "self-test": _printed(print_self_test, SELF_TEST),
            "grid": "\n".join(map(str, default_grid())),
            "help": "\n\n".join(_help(command) for command in ([], *([name] for name in cli.commands))),
            "masks": "\n".join(f"{kind}\n{make_mask(kind, 6, 9, np.random.default_rng(0)) * 1}" for kind in MASKS),
            "faults": "\n".join(f"{each.name} ({each.group}): {each.summary}" for each in FAULTS),
        }
    elif name == "files":
        views = {file.relative_to(ROOT).as_posix(): "\n".join(_of_file(file)) for file in FILES}
    elif name == "onnx nodes":
        said = {case: each if isinstance(each, str) else "computed" for case, each in readings().items()}
        views = {
            "cases of the onnx package": "\n".join(f"{case}: {each}" for case, each in said.items()),
            "known without inputs": "\n".join(foldings()),
            **{name: "\n".join(_of_onnx(around(name))) for name in AROUND},
            **{f"node {seed}": "\n".join(_of_onnx(random_node(seed))) for seed in range(30)},
        }
    elif name.startswith("network of "):
        views = dict(_of_network(NETWORKS[name.removeprefix("network of ")]))
    else:
        views = dict(_of_report(report_of(name), with_page=name in PAGES))
    return "".join(f"=== {view}\n{text.strip()}\n\n" for view, text in views.items())


SELF_TEST = SelfTest(
    (
        Outcome("one", "gates", "does a thing", caught=True, check="step", margin=12.5, case="lstm N1", hidden=2),
        Outcome("two", "masks", "does another"),
    ),
    (Control("right", "as it should be", 3, score_max=1.25), Control("wrong", "not so", 2, ("lstm N1",), 9.0)),
)


def _of_report(report, *, with_page):
    options = {"differences": report.differences, "interrupted": report.interrupted}
    yield "text", str(report)
    yield "details, everything", _printed(print_report, report.entries, details=True, everything=True, **options)
    yield "narrow", _printed(print_report, report.entries, width=64, **options)
    yield "markdown", to_markdown(report)
    yield "pictures", "\n".join(_pictures(report))
    if with_page:
        plain = replace(report, entries=tuple(map(without_pictures, report.entries)))
        yield "page", plain.to_html("rnncheck verify").partition("<body")[2]


def _help(command):
    return CliRunner().invoke(cli, [*command, "--help"], prog_name="rnncheck", terminal_width=100).output


def _of_file(file):
    """What is read from a model file, and what the equations make of random inputs."""
    network = rnncheck.extract(file)
    for line in layer_lines(network, keras_defaults):
        yield "  ".join(filter(None, line))
    inputs = random_inputs(network, seed=0)
    yield f"inputs {', '.join(f'{x.shape} {_few([np.abs(x).sum()])}' for x in inputs)}"
    outputs = rnncheck.replay(network, inputs).outputs
    yield f"outputs {', '.join(f'{y.shape} {_few([np.abs(y).sum()])}' for y in outputs)}"


def _of_onnx(model):
    """What is read from an ONNX model."""
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, path := Path(folder) / "model.onnx")
        yield from _of_file(path)


def _of_network(network):
    inputs = make_inputs(network, 3)
    yield "show", _printed(print_network, network, "a title", keras_defaults, width=100)
    yield "show in a notebook", network_html(network).partition("</style>")[2]
    replayed = rnncheck.replay(network, inputs, every_step=True)
    yield "replayed in a notebook", replayed_html(replayed).partition("</style>")[2]
    yield "program", numpy_program(network, "program").partition("\n\ndef model")[2]
    for gates in (False, True):
        walk = rnncheck.walk(network, inputs, sample=1, gates=gates)
        seen = [replace(layer, observed=layer.by_hand * 1.0001) for layer in walk.recurrent]
        walk = replace(walk, recurrent=tuple(seen))
        yield f"walk{' with gates' * gates}", str(walk)
    yield "walk, narrow", _printed(print_walk, replace(walk, steps=(1, 3)), width=64)
    yield "walk in a notebook", walk._repr_html_()


def _printed(show, thing, *further, width=118, **options):
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    show(thing, console, *further, **options)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def _pictures(report):
    """What each picture of the first failure, or of the first entry, is made of."""
    entries = [each for each, _ in report.failures()] or report.entries
    curves = curves_of(entries[0]) if entries else None
    for name in picture_names(curves) if curves else ():
        figure = plot(entries[0], name)
        for axes in (each for part in figure.subfigs for each in part.axes):
            yield f"{name}: {axes.get_title()!r}, {axes.get_xlabel()!r}, {axes.get_ylabel()!r}, {axes.get_yscale()}"
            yield f"  limits {_few(axes.get_xlim())}, {_few(axes.get_ylim())}"
            for line in axes.lines:
                points = " ".join(_few([np.nansum(np.abs(each))]) for each in line.get_data())
                looks = f"{line.get_label()} {line.get_color()} {line.get_linestyle()} {line.get_marker()}"
                yield f"  line {looks}, {len(line.get_xdata())} points, {points}"
            for image in axes.images:
                numbers = image.get_array()
                sizes = f"{numbers.shape}, {_few([np.abs(numbers).sum()])} in {_few(image.get_clim())}"
                yield f"  image {sizes}, at {image.get_extent()}"
            if axes.get_legend():
                yield f"  legend {', '.join(text.get_text() for text in axes.get_legend().get_texts())}"


def _few(numbers):
    return " ".join(f"{number:.5g}" for number in numbers)


def main():
    for file in KEPT.glob("*.txt"):
        file.unlink()
    for name in SCREENS:
        (KEPT / f"{name}.txt").write_text(screen(name))


if __name__ == "__main__":
    main()
