"""Records of options: a command that takes a record has an option for each of its fields."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar

__all__ = ["record_of", "with_records"]

Record = TypeVar("Record")


def with_records(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer can read it: each record (a Struct) among its parameters is replaced by the fields.

    A record's fields are declared like a command's own parameters, with `Annotated` and a default, or are records.
    """
    signature = inspect.signature(command)

    @wraps(command)
    def run(**given: Any) -> None:
        command(**_gathered(signature.parameters.values(), given))

    run.__signature__ = signature.replace(parameters=[*_flat(signature.parameters.values())])  # type: ignore[attr-defined]
    return run


def record_of(record: type[Record], given: Mapping[str, Any]) -> Record:
    """The record made of the values given for its fields, and for those of records in it."""
    return record(**_gathered(_fields(record), given))


def _gathered(parameters: Iterable[inspect.Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for these parameters, with the records made of the values given for their fields."""
    return {
        each.name: record_of(each.annotation, given) if _is_record(each) else given[each.name] for each in parameters
    }


def _is_record(parameter: inspect.Parameter) -> bool:
    return hasattr(parameter.annotation, "__struct_fields__")


def _fields(record: Any) -> list[inspect.Parameter]:
    """A record's fields as parameters. (inspect.signature of a record takes several times as long.)"""
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=record.__annotations__[name]
        )
        for name, default in zip(record.__struct_fields__, record.__struct_defaults__, strict=True)
    ]


def _flat(parameters: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    for each in parameters:
        if _is_record(each):
            yield from _flat(_fields(each.annotation))
        else:
            yield each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
