"""Input that people write: jobs in JSON, files of jobs, durations, sizes, times, settings and `.env`.

An accepted input gives a job whose event comes back from the log unchanged, or a value that reads back. A refused one
gives the documented error, which says why.
"""

import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from random import Random
from typing import Any
from unittest.mock import patch

from msgspec import json

from queuectl.application import job_fields
from queuectl.application.job_file import read_jobs
from queuectl.application.job_input import JobReader
from queuectl.application.job_json import JobInput
from queuectl.config import SETTINGS, Config, Setting, read_dotenv
from queuectl.domain.events import RecordedEvent
from queuectl.errors import UsageError
from queuectl.store import codec
from queuectl.units import format_duration, format_time, parse_duration, parse_size, parse_time
from tests.campaign.hostile import altered, number, text
from tests.campaign.plan import Attempt, Campaign, Control

__all__ = ["CAMPAIGN"]

ROUNDS = 60
NOW = 1_795_490_400_000_000
CONFIG = Config({}, {}, {}, dict)
UNITS = (*"smhdwBZ:-T.", "", "ms", "KiB", "MB", "TiB", "+01:00", "e9", " ", "now", "today")
Tried = Iterator[tuple[str, Sequence[str]]]
"""The kind of the input, and the fault in its handling."""


def attempt(seed: int, check: Callable[[str, str], str] = job_fields.text) -> Attempt:
    """Run sixty rounds of each kind; `check` is the function that validates a job's texts."""
    rng = Random(seed)
    counted: Counter[str] = Counter()
    faults: list[str] = []
    with patch.object(job_fields, "text", check):
        for what, found in chain.from_iterable(kind(rng) for _ in range(ROUNDS) for kind in KINDS):
            counted[what] += 1
            faults += found
    return Attempt(counted.total(), faults, counted)


def _answered(call: Callable[[], Any], *documented: type[Exception]) -> tuple[Any, list[str]]:
    """The value and no fault, or None and the faults of the error; a documented error has a message."""
    try:
        return call(), []
    except documented as error:
        return None, [] if str(error) else ["message: an error says nothing"]
    except Exception as error:
        return None, [f"{type(error).__name__}: not the documented error"]


# ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────


def _jobs(rng: Random) -> Tried:
    taking = JobReader(CONFIG, NOW, JobInput(tags={"t": "1"}) if rng.randrange(2) else JobInput())
    for _ in range(10):
        written = _job_text(rng)
        found, wrong = _answered(lambda: taking.from_text(written), UsageError)  # noqa: B023 (called at once)
        yield "jobs", wrong + ([] if found is None else _kept(found.spec))


def _job_text(rng: Random) -> str:
    raw = json.encode({name: _field(rng, name) for name in rng.sample(JobInput.__struct_fields__, rng.randrange(1, 6))})
    for _ in range(rng.randrange(3)):
        raw = altered(rng, raw)
    return raw.decode("utf-8", "surrogateescape")


def _field(rng: Random, name: str) -> Any:
    if not rng.randrange(6):
        return rng.choice((None, True, [], {}, [[]], {"a": 1}, 1e308, number(rng), text(rng)))
    if name in ("argv", "secret_env"):
        return [text(rng) for _ in range(rng.randrange(3))]
    if name in ("env", "tags"):
        return {text(rng): text(rng) for _ in range(rng.randrange(3))}
    if name in ("priority", "max_retries", "backoff_base"):
        return number(rng)
    return _quantity(rng) if name in ("delay", "timeout", "at") else rng.choice(("a", "true", text(rng)))


def _kept(spec: Any) -> list[str]:
    """The faults of storing and reading an accepted job."""
    record = RecordedEvent(1, "a", 1, NOW, "ann", spec)
    found, wrong = _answered(lambda: codec.decode(codec.seal(record, bytes(16), bytes(32)), bytes(32)))
    return wrong or ([] if found.event == spec else ["kept: a job comes back as another"])


def _files(rng: Random) -> Tried:
    lines = [_job_text(rng).encode("utf-8", "surrogateescape") for _ in range(rng.randrange(4))]
    file = rng.choice((b"\n", b"\r\n", b"\n\n")).join([*lines, text(rng).encode()])
    _, wrong = _answered(lambda: read_jobs(io.BytesIO(file), JobReader(CONFIG, NOW)), UsageError)
    yield "files of jobs", wrong


# ── quantities ──────────────────────────────────────────────────────────────────────────────────────────


def _quantities(rng: Random) -> Tried:
    for read, write in (
        (parse_duration, format_duration),
        (parse_size, lambda size: f"{size}B"),
        (lambda text: parse_time(text, NOW), format_time),
    ):
        for _ in range(4):
            written = _quantity(rng)
            found, wrong = _answered(lambda: read(written), ValueError)  # noqa: B023 (called at once)
            yield (
                "quantities",
                wrong if found is None or read(write(found)) == found else ["quantity: it reads otherwise"],
            )


def _quantity(rng: Random) -> str:
    kinds = (lambda: rng.choice(UNITS), lambda: str(number(rng)), lambda: str(rng.randrange(100)))
    written = "".join(rng.choice(kinds)() for _ in range(rng.randrange(1, 6)))
    return written if rng.randrange(4) else written + text(rng)


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────


def _settings(rng: Random) -> Tried:
    for key, setting in SETTINGS.items():
        written = rng.choice((_quantity(rng), text(rng), setting.default, str(number(rng))))
        same, wrong = _answered(lambda: _reads_back(setting, written), ValueError)  # noqa: B023 (called at once)
        yield "settings", wrong if same is not False else [f"setting: {key} does not read back"]
        sources: list[dict[str, str]] = [{}, {}, {}]
        sources[rng.randrange(3)] = {key: written, setting.variable: written}
        config = Config(*sources, dict)
        yield "settings", _answered(lambda: config[key], UsageError)[1]  # noqa: B023 (called at once)


def _reads_back(setting: Setting, written: str) -> bool:
    value = setting.parse(written)
    shown = setting.show(value)
    return _answered(lambda: setting.parse(shown), ValueError)[0] == value


def _dotenv(rng: Random) -> Tried:
    raw = b"".join(_line(rng) for _ in range(rng.randrange(1, 5)))
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, ".env"), "wb") as file:
            file.write(raw)
        found, wrong = _answered(lambda: read_dotenv(folder), UsageError)
    if found and any(not name.startswith("QUEUECTL_") for name in found):
        wrong = ["dotenv: a variable that is not ours was read"]
    yield ".env files", wrong


def _line(rng: Random) -> bytes:
    line = f"{rng.choice(('', 'export ', '# '))}{rng.choice(('QUEUECTL_', 'HOME'))}{rng.choice(('TIMEOUT', 'DB', ''))}"
    value = rng.choice((f"={text(rng)}", f"='{text(rng)}'", f'="{text(rng)}"', "", "=${HOME}"))
    raw = f"{line}{value}\n".encode()
    return altered(rng, raw) if rng.randrange(2) else raw


KINDS = (_jobs, _files, _quantities, _settings, _dotenv)

CAMPAIGN = Campaign(
    name="fuzz-inputs",
    unit="inputs",
    short=50_000,
    full=5_000_000,
    attempt=attempt,
    controls=(
        Control("without its check text that is no UTF-8 is taken", partial(attempt, check=lambda _, text: text), 3),
    ),
)
