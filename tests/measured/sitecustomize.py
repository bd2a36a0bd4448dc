"""Note which lines of the package a process runs; `make test` puts this folder on the path of each."""

import atexit
import json
import os
import sys
from pathlib import Path

from slipcover import FileMatcher, ImportManager, Slipcover

ROOT = Path(__file__).parents[2]
measured = Slipcover()
ImportManager(measured, FileMatcher([ROOT / "rnncheck"])).__enter__()
for name in [name for name in sys.modules if name.partition(".")[0] == "slipcover"]:
    del sys.modules[name]  # pytest, of which it is a plugin, warns of one that is imported already


@atexit.register
def write_what_was_run():
    """Write one file for the process, named as it is."""
    os.chdir(ROOT)  # the names of the modules are relative
    (ROOT / ".coverage" / f"{os.getpid()}.json").write_text(json.dumps(measured.get_coverage()))
