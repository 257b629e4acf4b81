"""`enqueue` with several words: a program and its arguments, or the line to type when some of them begin with a dash.

Loaded only when there are several words, or an option that `enqueue` does not have.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from queuectl.application.job_json import may_be_json
from queuectl.errors import UsageError, command_line

__all__ = ["as_program", "refuse_options_of_a_program"]


def as_program(command: Any, args: Sequence[str], words: list[str], tail: Sequence[str]) -> list[str]:
    """The words as a program and its arguments. Raises UsageError when some word could be meant otherwise.

    `args` is the command line after `enqueue`, without the sources of a sweep, which are `tail`.
    """
    if may_be_json(words[0]):
        raise UsageError(f"{len(words)} words: put single quotes around a job in JSON or a command of the shell")
    if any(blank in words[0] for blank in " \t\n"):
        raise UsageError(f"{len(words)} words, and the first is a whole command: add one job at a time, or use --file")
    _refuse_dashes(command, args, tail)
    return words


def refuse_options_of_a_program(command: Any, args: Sequence[str], tail: Sequence[str], error: Any) -> None:
    """Raise UsageError with the line to type when the option that `error` names can be the program's."""
    place = _first_word(command, args)
    if place is None or any(blank in args[place] for blank in " \t\n"):
        return
    from queuectl.cli.other_names import meant

    _refuse_dashes(command, args, tail, meant(getattr(error, "option_name", ""), command))


def _refuse_dashes(command: Any, args: Sequence[str], tail: Sequence[str], similar: Sequence[str] = ()) -> None:
    """`similar` are options of `enqueue` with nearly the same name."""
    place = _first_word(command, args)
    dashed = [word for word in args[place or 0 :] if word.startswith("-") and word != "-"]
    if place is None or not dashed:
        return
    before, rest = list(args[:place]), list(args[place:])
    ours = [words for words, is_option in _parts(command, rest) if is_option]
    if ours and len(ours) == len(dashed) and all(word.startswith("--") for word in dashed):
        before += [word for words in ours for word in words]
        rest = [word for words, is_option in _parts(command, rest) if not is_option for word in words]
    line = command_line("enqueue", *before, "--", *rest, *tail)
    if similar:
        meant = " or ".join(sorted(similar))
        raise UsageError(
            f"no such option: {dashed[0]}: if you do not mean {meant}, put -- before the program: `{line}`"
        )
    raise UsageError(f"{dashed[0]} after the program's name: put -- before the program, as in `{line}`")


def _first_word(command: Any, args: Sequence[str]) -> int | None:
    """The index of the first word that is neither an option nor an option's value."""
    place = 0
    for words, is_option in _parts(command, args):
        if not is_option:
            return None if words[0].startswith("-") else place
        place += len(words)
    return None


def _parts(command: Any, args: Sequence[str]) -> Iterator[tuple[list[str], bool]]:
    """The words of the line, each option with its value, and whether it is an option that `enqueue` has."""
    options = {name: each for each in command.params for name in (*each.opts, *each.secondary_opts)}
    rest = iter(args)
    for word in rest:
        name, equals, _ = word.partition("=")
        name = name if word.startswith("--") else word[:2]
        found = options.get(name) if word.startswith("-") else None
        takes_next = found is not None and not found.is_flag and not (equals if name.startswith("--") else word[2:])
        yield [word, *([next(rest, "")] if takes_next else [])], found is not None
