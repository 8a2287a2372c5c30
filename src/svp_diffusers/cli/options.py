"""Options of a command, written once: as the fields of the dataclass that holds them."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

Request = TypeVar("Request")


def takes_fields_of(
    request: type[Request],
) -> Callable[[Callable[[Request], None]], Callable[..., None]]:
    """Make a command of a function that takes a dataclass.

    The fields become the command's options with their types and defaults, a field that has neither
    a default nor flags an argument. The metadata of a field may hold:

        help: its line in `--help`
        panel: the panel of `--help` that it stands in
        flags: how the option is written, where that is not `--its-name`
        parse: a function from the text of the command line to the field's value
        repeated: whether the option may be given more than once; `parse` is then given all texts
        optional: whether the argument may be left out, and is then None
    """
    types = get_type_hints(request)
    parameters = [_describe(field, types[field.name]) for field in fields(request)]  # type: ignore[arg-type]
    parsers = {
        field.name: field.metadata["parse"]
        for field in fields(request)  # type: ignore[arg-type]
        if "parse" in field.metadata
    }

    def decorate(command: Callable[[Request], None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            for name, parse in parsers.items():
                if values[name] is not None:
                    values[name] = parse(values[name])
            command(request(**values))

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _describe(field: Field[Any], kind: Any) -> inspect.Parameter:
    metadata = field.metadata
    if "parse" in metadata:
        kind = list[str] | None if metadata.get("repeated") else str | None
    flags = metadata.get("flags", ())
    shown = {"help": metadata["help"], "rich_help_panel": metadata.get("panel")}
    is_required = field.default is MISSING
    is_argument = is_required and not flags
    info = typer.Argument(**shown) if is_argument else typer.Option(*flags, **shown)
    default = inspect.Parameter.empty if is_required else field.default
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if metadata.get("optional") else default,
        annotation=Annotated[kind, info],
    )
