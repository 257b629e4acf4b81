"""Options that are given as NAME=VALUE, such as `--env` and `--tag`."""

from collections.abc import Mapping

from queuectl.errors import UsageError

__all__ = ["name_values"]


def name_values(option: str, texts: list[str] | None, here: Mapping[str, str] = {}) -> dict[str, str] | None:
    """The names and values; None without any. A name alone has the value that it has in `here`. Raises UsageError."""
    if not texts:
        return None
    for text in texts:
        if "=" not in text and text not in here:
            why = f"there is no variable {text} to copy: " if here else ""
            raise UsageError(f"{option} {text}: {why}write it as NAME=VALUE")
    pairs = (text.partition("=") for text in texts)
    return {name: value if equals else here[name] for name, equals, value in pairs}
