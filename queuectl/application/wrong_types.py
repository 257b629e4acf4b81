"""Says in plain words that a value is not as expected, from the decoder's error: `priority: expected a number`."""

import re
from collections.abc import Mapping

from msgspec import ValidationError

__all__ = ["IN_JSON", "wrong_type"]

IN_JSON: Mapping[str, str] = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
"""The decoder's types as people who write JSON call them."""

_EXPECTED = re.compile(r"Expected `(\w+(?: \| \w+)*?)(?: \| null)?`(?:, got `(\w+)`)?")


def wrong_type(error: ValidationError, names: Mapping[str, str] = IN_JSON) -> str:
    """The decoder's message with the place first, and with types by these names."""
    message, _, path = str(error).partition(" - at `")
    place = path.removeprefix("key` in `").removeprefix("$").removeprefix(".").removesuffix("`")
    kind = " as a name" if path.startswith("key`") else " as a value" if "[...]" in place else ""

    def in_words(found: re.Match[str]) -> str:
        wanted = " or ".join(names.get(name, name) for name in found[1].split(" | "))
        return f"expected {wanted}{kind}" + (f", got {names.get(found[2], found[2])}" if found[2] else "")

    message = _EXPECTED.sub(in_words, message)
    message = message.replace("Object contains unknown field", "there is no field")
    message = message.replace("Object missing required field", "it lacks the field")
    place = place.replace("[...]", "")
    return f"{place}: {message[:1].lower()}{message[1:]}" if place else message
