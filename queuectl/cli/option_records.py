"""Records of options: a command that takes a record has an option for each of its fields."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

__all__ = ["with_records"]


def with_records(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer can read it: each record (a NamedTuple) among its parameters is replaced by the fields.

    A record's fields are declared like a command's own parameters, with `Annotated` and a default, or are records.
    """
    signature = inspect.signature(command)

    @wraps(command)
    def run(**given: Any) -> None:
        command(**_gathered(signature, given))

    run.__signature__ = signature.replace(parameters=[*_flat(signature.parameters.values())])  # type: ignore[attr-defined]
    return run


def _gathered(signature: inspect.Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for a function of this signature, with the records made of the values given for their fields."""
    return {
        name: each.annotation(**_gathered(inspect.signature(each.annotation), given))
        if _is_record(each)
        else given[name]
        for name, each in signature.parameters.items()
    }


def _is_record(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, type) and hasattr(parameter.annotation, "_fields")


def _flat(parameters: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    for each in parameters:
        if _is_record(each):
            yield from _flat(inspect.signature(each.annotation).parameters.values())
        else:
            yield each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
