"""`python -m queuectl`, and the console script."""

import os
import sys


def main() -> None:
    """Run the command line.

    Objects made at start-up live until exit, so raise the GC threshold: collection was 20 % of start-up time.
    """
    import gc

    gc.set_threshold(100_000)
    _start_again_in_utf8()
    from queuectl.imports import import_msgspec

    import_msgspec()
    from queuectl.cli import run

    try:
        run()
    except SystemExit as end:
        _leave(end)


def _leave(end: SystemExit) -> None:
    """Exit without taking the interpreter apart: the system frees everything at once, which saves 3 ms or more.

    Exits as usual for a debugger or a profiler, and while a thread runs that has to be waited for.
    """
    if not isinstance(end.code, int) or sys.gettrace() or sys.getprofile() or _has_threads():
        raise end
    import atexit

    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # the usual exit reports it
        raise end from None
    os._exit(end.code)


def _has_threads() -> bool:
    """Whether this process has threads that an interpreter waits for as it ends."""
    threading = sys.modules.get("threading")
    return threading is not None and any(
        not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()
    )


def _start_again_in_utf8() -> None:
    """In a locale such as ISO-8859-1, Python would decode arguments and paths by it and store other bytes."""
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
