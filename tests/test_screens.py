"""Reports, walks, tables and pictures look as they did."""

import pytest
from screens import KEPT, SCREENS, screen


@pytest.mark.parametrize("name", SCREENS)
def test_what_is_shown_is_what_was_kept(name):
    assert screen(name) == (KEPT / f"{name}.txt").read_text()


def test_no_other_screens_are_kept():
    assert {file.stem for file in KEPT.iterdir()} == set(SCREENS)
