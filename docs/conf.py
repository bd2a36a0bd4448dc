"""How Sphinx builds the site: `make docs`."""

# ruff: noqa: INP001 - Sphinx imports it by its path

import os
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.tables import TABLES
from rnncheck.version import __version__

project = "rnncheck"
author = "the authors of rnncheck"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # what stands between single backticks in docstrings
html_theme = "furo"
html_show_copyright = False
html_title = "rnncheck"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the changelog has its own levels

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # of the kernel that runs the tutorial

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False


class Generated(SphinxDirective):
    """A table of `experiments.tables`, by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return what the table's Markdown says."""
        return self.parse_text_to_nodes(TABLES[self.arguments[0]](), allow_section_headings=True)


def escape(_app: Sphinx, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Let the formulas in docstrings be plain text: |a - b| is no substitution, and * no emphasis."""
    lines[:] = [line.replace("|", r"\|").replace("*", r"\*") for line in lines]


def setup(app: Sphinx) -> None:
    """Add the directive, and read docstrings before napoleon does."""
    app.add_directive("generated", Generated)
    app.connect("autodoc-process-docstring", escape, priority=100)
