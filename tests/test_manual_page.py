"""The manual page, as `man` sets it."""

import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "queuectl.1"


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
