"""Reads an unfinished command line: the command that it names, the values given so far, and what the last word is."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Words", "words_before"]


def words_before(line: str) -> list[str]:
    """The words of a shell's line up to the cursor, without the program's name; the last one may be empty.

    A quote that is still open ends at the cursor.
    """
    for ending in ("", "'", '"'):
        try:
            words = shlex.split(f"{line}{ending}")
        except ValueError:
            continue
        break
    else:
        return [""]
    while words[:1] and "=" in words[0]:  # variables that are set for this command
        del words[0]
    unfinished = bool(ending) or not line[-1:].isspace()
    return words[1:] if unfinished else [*words[1:], ""]


class Words:
    """The words after the program's name, read as far as they go.

    `path`: the names of the command and its groups. `given`: the values of options by their parameters' names.
    `param`: the option or argument whose value the last word is, else None. `text`: the last word, or the part of it
    behind the `=` of an option.
    """

    def __init__(self, root: Any, aliases: Mapping[str, str], words: Sequence[str]) -> None:
        self._command, self._aliases = root, aliases
        self.path: list[str] = []
        self.given: dict[str, str] = {}
        self._places, self._plain = 0, False
        self._waiting: Any = None
        for word in words[:-1]:
            self._read(word)
        self.param, self.text = self._last(words[-1] if words else "")

    def _read(self, word: str) -> None:
        if self._waiting is not None:
            self.given[self._waiting.name], self._waiting = word, None
        elif self._plain or not word.startswith("-") or word == "-":
            self._enter(word)
        elif word == "--":
            self._plain = True
        else:
            name, equals, value = word.partition("=")
            option = self._option(name)
            if option is not None and not option.is_flag:
                if equals:
                    self.given[option.name] = value
                else:
                    self._waiting = option

    def _enter(self, word: str) -> None:
        """Take a word that is no option: the name of a command, or an argument."""
        if not hasattr(self._command, "list_commands"):
            self._places += 1
            return
        name = self._aliases.get(word, word) if not self.path else word
        found = self._command.get_command(None, name)
        if found is not None:
            self._command = found
            self.path.append(name)

    def _last(self, word: str) -> tuple[Any, str]:
        if self._waiting is not None:
            return self._waiting, word
        if not self._plain and word.startswith("-"):
            name, equals, value = word.partition("=")
            option = self._option(name) if equals else None
            return (option, value) if option is not None else (None, word)
        return self._argument(), word

    def _argument(self) -> Any:
        """The argument that the last word is; None when there is no such one."""
        arguments = [each for each in self._command.params if each.param_type_name == "argument"]
        if self._places < len(arguments):
            return arguments[self._places]
        return arguments[-1] if arguments and arguments[-1].nargs == -1 else None

    def _option(self, name: str) -> Any:
        return next((each for each in self._command.params if name in each.opts), None)

    def options(self, text: str) -> Iterator[tuple[str, str]]:
        """The long names, which begin with the text, of options that can still be given, with their help."""
        for each in self._command.params:
            if each.param_type_name == "option" and not each.hidden and (each.multiple or each.name not in self.given):
                names = [name for name in each.opts if name.startswith("--")]
                yield from ((name, each.help or "") for name in names if name.startswith(text))
        if "--help".startswith(text):
            yield "--help", "Show this help."

    def commands(self, text: str) -> Iterator[tuple[str, str]]:
        """The commands of the group, which begin with the text, with their help; none when this is no group."""
        for name in self._command.list_commands(None) if hasattr(self._command, "list_commands") else ():
            if name.startswith(text) and (summary := self._command.summary(name, limit=100)):
                yield name, summary
