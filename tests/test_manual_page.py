"""The manual page, as `man` sets it."""

import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "queuectl.1"


def test_each_exit_status_stands_under_its_command():
    text = PAGE.read_text(encoding="utf-8")
    status = text.partition(".SH EXIT STATUS\n")[2].partition(".SH FILES")[0]
    sections = [part.splitlines() for part in status.split(".SS ")]
    codes = {lines[0]: [line for line in lines if line.startswith("\\fB")] for lines in sections}
    assert {'"wait"', '"verify"', '"recover"'} <= set(codes)
    assert all(len(found) == len(set(found)) for found in codes.values())


def test_no_heading_comes_twice():
    headings = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(".SH")]
    assert len(headings) == len({heading.replace('"', "") for heading in headings})
    assert {".SH ENVIRONMENT", ".SH FILES"} <= set(headings)


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed here")
def test_man_sets_the_page_without_warnings():
    done = subprocess.run(
        ["man", "--warnings=all", "--encoding=UTF-8", "--local-file", str(PAGE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == ""
    assert "queuectl" in done.stdout
