"""What a notebook shows, in a real kernel."""

import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import rnncheck
from rnncheck import Report
from rnncheck.checks.verdicts import failed_row
from rnncheck.equations.replay import Replayed
from rnncheck.report.entry import MOST_PICTURED
from rnncheck.report.notebook import replayed_html

ROOT = Path(__file__).parent.parent
BEFORE = """
import numpy as np, rnncheck
inputs = np.load("rnncheck/demo/inputs.npy")
wrong = np.loadtxt("rnncheck/demo/wrong_outputs.csv", ndmin=2)
report = rnncheck.compare("rnncheck/demo/sine.keras", inputs, wrong)
"""
CELLS = (
    BEFORE,
    "report",
    "print(report)",
    "report.plot()",
    "rnncheck.extract('rnncheck/demo/sine.keras')",
    "rnncheck.replay('rnncheck/demo/sine.keras', inputs, every_step=True)",
    "report.raise_for_mismatch()",
)


@pytest.fixture(scope="module")
def outputs():
    """The outputs of each cell, run in a kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = NotebookClient(notebook, kernel_name="python3", allow_errors=True, timeout=120)
    client.execute(cwd=str(ROOT))
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells), strict=True))


def html_of(outputs, cell):
    (output,) = outputs[cell]
    return output["data"]["text/html"]


def test_report_is_the_core_of_its_page(outputs):
    shown = html_of(outputs, "report")

    assert shown.startswith('<div class="rnncheck">')
    assert '<p class="first">MISMATCH&ensp;sine.keras: in layer &#39;lstm&#39;' in shown
    assert "<td>next_value output</td>" in shown
    assert "<body" not in shown


def test_report_is_text_where_it_is_printed(outputs):
    (output,) = outputs["print(report)"]

    assert output["text"].startswith("MISMATCH  sine.keras: in layer 'lstm'")


def test_pictures_are_shown_without_pyplot(outputs):
    (output,) = outputs["report.plot()"]

    assert "<svg" in output["data"]["image/svg+xml"]


def test_network_is_a_table_of_layers_with_shapes_and_equations(outputs):
    shown = html_of(outputs, "rnncheck.extract('rnncheck/demo/sine.keras')")

    assert "<td>lstm</td>\n<td>LSTM</td>\n<td>(N, 16)</td>\n<td>1,152</td>" in shown
    assert "<p>1,169 parameters; outputs: next_value</p>" in shown
    assert "<p>h_t = o_t*activation(c_t).</p>" in shown


def test_replayed_is_a_table_of_arrays_with_shapes(outputs):
    shown = html_of(outputs, "rnncheck.replay('rnncheck/demo/sine.keras', inputs, every_step=True)")

    for line in ("<td>output 0</td>\n<td>(8, 1)</td>", "<td>h of lstm after every step</td>\n<td>(8, 24, 16)</td>"):
        assert line in shown


def test_mismatch_says_what_is_wrong(outputs):
    (output,) = outputs["report.raise_for_mismatch()"]

    assert output["ename"] == "MismatchError"
    assert output["evalue"].startswith("MISMATCH  sine.keras: in layer 'lstm'")


# --- without a kernel ---


def test_without_jinja_all_is_text(monkeypatch):
    network = rnncheck.extract(ROOT / "rnncheck" / "demo" / "sine.keras")
    inputs = rnncheck.cases.inputs.random_inputs(network, 0)
    replayed = rnncheck.replay(network, inputs)
    report = rnncheck.compare(network, inputs, replayed.outputs[0].astype("float32"))
    monkeypatch.setitem(sys.modules, "jinja2", None)

    assert report._repr_html_() == f"<pre>{report}</pre>".replace("'", "&#x27;")
    assert network._repr_html_().startswith("<pre>sine\nsine  Input  (N, 24, 1)")
    assert replayed._repr_html_().startswith("<pre>What the equations give\noutput 0  (4, 1)  ")


def test_names_in_a_network_are_escaped():
    spec = rnncheck.InputSpec("<script>", (3, 2), "float32")
    network = rnncheck.Network("<b>", (spec,), (), (rnncheck.Tensor("<script>"),))

    shown = network._repr_html_()

    assert "<script" not in shown
    assert "<b>" not in shown


def test_long_report_shows_only_the_first_that_failed():
    report = Report({}, (rnncheck.Entry("a", (failed_row("lstm", "no"),)),) * 1000)

    assert report._repr_html_().count("<details class") == MOST_PICTURED


def test_hints_speak_python():
    network = rnncheck.extract(ROOT / "rnncheck" / "demo" / "sine.keras")
    inputs = rnncheck.cases.inputs.random_inputs(network, 0)
    outputs = rnncheck.replay(network, inputs).outputs[0].astype("float32")
    report = rnncheck.compare(network, inputs, outputs, blind_spots=True)

    for shown in (report._repr_html_(), str(report)):
        assert "ask for metamorphic runs where Keras runs the model" in " ".join(shown.split())
        assert "--" not in shown


@pytest.mark.parametrize(("size", "shown"), [(4, "0, 1, 2, 3<"), (5, "0, 1, 2, 3, ...<")])
def test_numbers_that_are_left_out_are_said_to_be(size, shown):
    assert shown in replayed_html(Replayed((np.arange(size),)))
