"""A real workload: Python's standard library is compiled by a queue and, for comparison, by xargs."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.command_line import Queuectl

STRIDE = int(os.environ.get("STANDARD_LIBRARY_STRIDE", "1"))
"""Take every so-manyth file: for those who are in a hurry."""

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}

BROKEN = {
    "broken/unclosed.py": "def f(:\n",
    "broken/indented.py": "if True:\npass\n",
    "broken/binary.py": "x = 'a\0b'\n",
    "broken/unterminated.py": 's = """never\n',
}


def _copy_sources(target: Path) -> list[str]:
    """Copy the sources and add the broken ones; return their paths below the target."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = [path.relative_to(library) for path in sorted(library.rglob("*.py"))]
    sources = [path for path in sources if not LEFT_OUT & set(path.parts)][::STRIDE]
    for path in sources:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library / path, target / path)
    (target / "broken").mkdir()
    for name, text in BROKEN.items():
        (target / name).write_text(text)
    return sorted([*map(str, sources), *BROKEN])


def _lines(sources: list[str]) -> str:
    return "".join(f"{shlex.join([sys.executable, '-I', '-S', '-m', 'py_compile', path])}\n" for path in sources)


def _compiled(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.pyc")}


def _by_xargs(folder: Path, lines: str) -> set[str]:
    subprocess.run(
        ["xargs", "-0", "-n", "1", "-P", "2", "sh", "-c"],
        input=lines.replace("\n", "\0").encode(),
        cwd=folder,
        stderr=subprocess.DEVNULL,
        timeout=600,
        check=False,  # the broken ones make it 123
    )
    return _compiled(folder)


def _error_of(folder: Path, name: str) -> str:
    """The error that Python reports for a broken file."""
    done = subprocess.run(
        ["sh", "-c", _lines([name])], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert "Error: " in done.stderr
    return done.stderr


def test_a_queue_compiles_the_standard_library_as_xargs_does(queuectl: Queuectl) -> None:
    queued, other = queuectl.folder / "queued", queuectl.folder / "xargs"
    sources = _copy_sources(queued)
    assert len(sources) > (500 if STRIDE == 1 else 20)
    shutil.copytree(queued, other)
    lines = _lines(sources)

    where = {"QUEUECTL_DB": queuectl.place, "QUEUECTL_MAX_RETRIES": "0"}
    ids = queuectl.ok("enqueue", "--file", "-", stdin=lines, cwd=queued, env=where).splitlines()
    by_path = dict(zip(sources, ids, strict=True))
    queuectl.drain("--concurrency", "2", "--log-level", "error", timeout=600)

    expected = _by_xargs(other, lines)
    assert len(expected) == len(sources) - len(BROKEN)
    assert _compiled(queued) == expected
    assert queuectl.json("status")["states"] == {
        "pending": 0,
        "processing": 0,
        "done": len(expected),
        "dlq": len(BROKEN),
        "cancelled": 0,
    }
    dead = {row["id"]: row for row in queuectl.json("dlq", "list")}
    assert set(dead) == {by_path[name] for name in BROKEN}
    for name in BROKEN:
        error = _error_of(other, name)
        row = dead[by_path[name]]
        assert (row["last_error"], row["attempts"]) == (f"exited with code 1: {error.splitlines()[-1]}", 1)
        assert queuectl("logs", by_path[name], "--stderr").out == error
    counted = "SELECT sum(type = 'claimed') - sum(type = 'released'), count(DISTINCT stream_id) FROM events"
    assert queuectl.query(f"{counted} WHERE type IN ('claimed', 'released')") == [(len(sources), len(sources))]


def test_a_repaired_file_comes_out_of_the_dlq(queuectl: Queuectl) -> None:
    file = queuectl.folder / "module.py"
    file.write_text("def f(:\n")
    (job_id,) = queuectl.ok(
        "enqueue", "--file", "-", "--max-retries", "1", "--backoff-base", "0", stdin=_lines(["module.py"])
    ).splitlines()
    queuectl.drain()
    assert "SyntaxError" in queuectl.json("dlq", "list")[0]["last_error"]
    file.write_text("def f(): pass\n")
    queuectl.ok("dlq", "retry", job_id, "--reason", "the file is repaired")
    queuectl.drain()
    assert queuectl.state(job_id) == "done"
    assert len(list(queuectl.folder.rglob("module.*.pyc"))) == 1
