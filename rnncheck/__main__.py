"""`python -m rnncheck` is `rnncheck`."""

from __future__ import annotations

from rnncheck.cli import main

main()
