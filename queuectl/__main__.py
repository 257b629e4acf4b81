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
    from queuectl.cli import run

    try:
        run()
    finally:
        gc.freeze()  # or the interpreter looks through all of it again as it ends


def _start_again_in_utf8() -> None:
    """In a locale such as ISO-8859-1, Python would decode arguments and paths by it and store other bytes."""
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
