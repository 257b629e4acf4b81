"""Records of options: a command that takes a record has an option for each of its fields."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

__all__ = ["with_records"]


def with_records(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer can read it: each record (a NamedTuple) among its parameters is replaced by the fields.

    A record's fields are declared like a command's own parameters, with `Annotated` and a default.
    """
    signature = inspect.signature(command)
    records = {each.name: each.annotation for each in signature.parameters.values() if _is_record(each)}

    @wraps(command)
    def run(**given: Any) -> None:
        for name, record in records.items():
            given[name] = record(**{field: given.pop(field) for field in record._fields})
        command(**given)

    run.__signature__ = signature.replace(parameters=[*_flat(signature.parameters.values())])  # type: ignore[attr-defined]
    return run


def _is_record(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, type) and hasattr(parameter.annotation, "_fields")


def _flat(parameters: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    for each in parameters:
        if _is_record(each):
            yield from _flat(inspect.signature(each.annotation).parameters.values())
        else:
            yield each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
