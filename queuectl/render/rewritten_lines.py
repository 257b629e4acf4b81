"""Lines that a program rewrites after a carriage return, as progress bars do: the last state of each is shown."""

from collections.abc import Iterator

from queuectl.render.terminal import clean

__all__ = ["RewrittenLines"]

_REWRITE = "\r\x1b[K"
"""Back to the beginning of the line, and erase it."""


class RewrittenLines:
    """Clean text for a terminal, made from text that comes in pieces. Only the last state of a line is left.

    `live`: an unfinished line is printed as it is now, and rewritten in place when it changes. Otherwise it is printed
    once it is finished.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._held = self._line = ""
        self._is_shown = False

    def take(self, text: str) -> str:
        """Take the next piece. Returns the text to print."""
        return "".join(self._pieces(self._held + text))

    def end(self) -> str:
        """The unfinished line, if it is not printed yet."""
        last, self._held = self._changed(self._held), ""
        rest = last if self._live else clean(self._line)
        self._line, self._is_shown = "", False
        return rest

    def _pieces(self, text: str) -> Iterator[str]:
        *whole, rest = text.split("\n")
        for part in whole:
            yield from self._finished(part.rstrip("\r"))
        kept = rest.rstrip("\r")  # a newline may follow, and then the line is not rewritten
        self._held = rest[len(kept) :]
        if kept:
            yield self._changed(kept)

    def _finished(self, part: str) -> Iterator[str]:
        last = self._changed(part)
        yield f"{last if self._live else clean(self._line)}\n"
        self._line, self._is_shown = "", False

    def _changed(self, part: str) -> str:
        """Take the next part of a line. Returns the text to print of it if the line is live."""
        *before, state = part.rstrip("\r").split("\r")
        self._line = state if before else self._line + state
        rewrite = _REWRITE if before and self._is_shown else ""
        self._is_shown = self._is_shown or bool(state)
        return rewrite + clean(state) if self._live else ""
