"""The manifest of a batch: a JSON object a line, with the arguments of `svp generate`."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, create_model

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.generation.checks import name_outputs
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.documents import Description, parse_document
from svp_diffusers.media.input import check_input

MOST_BYTES = 2**20
"""Of a line (our choice): what goes on after it is not read into memory."""
RATES = ("fps", "head_keypoints_fps")  # text, as of 30000/1001, or numbers
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # which some editors set before the first line


@dataclass(frozen=True)
class Line:
    """A line of a manifest, understood or not.

    Attributes:
        number: of the line, from 1.
        request: what it asks for, its output a path below the batch's folder; None if it cannot be
            understood.
        problem: why it cannot.
    """

    number: int
    request: GenerationRequest | None
    problem: str = ""


class _Arguments(Description):
    model_config = ConfigDict(extra="forbid")


def _describe_arguments() -> type[_Arguments]:
    types = get_type_hints(GenerationRequest)
    arguments: dict[str, Any] = {}
    for field in fields(GenerationRequest):
        default = ... if field.default is MISSING else field.default
        kind = types[field.name]
        arguments[field.name] = (
            kind | int | float if field.name in RATES else kind,
            None if "optional" in field.metadata else default,
        )
    return create_model("Arguments", __base__=_Arguments, **arguments)


def read_lines(manifest: Path, folder: Path) -> list[Line]:
    """Read a manifest, without opening any file that it names; empty lines are passed over.

    Args:
        manifest: JSON Lines in UTF-8. A line's keys are the fields of `GenerationRequest`.
        folder: of the batch, which outputs are relative to.

    Raises:
        MediaError: if the manifest is missing or empty.
        ConfigurationError: if it has no lines.
    """
    arguments = _describe_arguments()
    lines: list[Line] = []
    taken: dict[Path, int] = {}
    for number, data in _split_lines(check_input(manifest)):
        try:
            if len(data) > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
            values = parse_document(data, arguments)
            given = {name: value for name, value in values}
            for name in RATES:
                given[name] = None if given[name] is None else str(given[name])
            request = GenerationRequest(**given)
            request = replace(request, output=_place(request.output, folder))
            for output in name_outputs(request):
                if output in taken:
                    raise ValueError(f"output: line {taken[output]} makes {output.name} already")
                for file in taken.keys() & set(output.parents):
                    raise ValueError(f"output: line {taken[file]} makes a video of {file.name}")
            taken |= dict.fromkeys(name_outputs(request), number)
            lines.append(Line(number, request))
        except ValueError as error:
            lines.append(Line(number, None, str(error)))
    if not lines:
        raise ConfigurationError(f"{manifest} has no lines: write a JSON object for each video.")
    return lines


def _split_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty and their numbers, of a long one only the beginning."""
    with path.open("rb") as stream:
        number = 0
        while data := stream.readline(MOST_BYTES + 1):
            number += 1
            rest = data
            while len(rest) > MOST_BYTES and not rest.endswith(b"\n"):
                rest = stream.readline(MOST_BYTES + 1)
            if number == 1:
                data = data.removeprefix(BYTE_ORDER_MARK)
            if data.strip():
                yield number, data


def _place(output: Path, folder: Path) -> Path:
    if output.is_absolute() or any(part == ".." or part.startswith(".") for part in output.parts):
        raise ValueError(f"output: must lie below {folder} and not be hidden, not {str(output)!r}")
    return folder / output
