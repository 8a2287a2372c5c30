"""JSON and YAML that a user hands in: parsed within bounds, then checked against a description.

Whatever is wrong with a document is one `ValueError` that says where in it and what is expected;
whoever reads it adds the file's name and the kind of error.
"""

import json
import math
from collections import Counter
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

MAXIMUM_YAML_BYTES = 2**20
MAXIMUM_YAML_DEPTH = 20


class Description(BaseModel):
    """What a document must hold: subclasses name its keys; types are exact, other keys are free."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


Described = TypeVar("Described", bound=Description)


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8; raises `ValueError`, also for NaN and numbers that are infinite."""
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_parse_float
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(data: bytes) -> Any:
    """Parse one YAML document in UTF-8, of plain values without aliases; raises `ValueError`."""
    if len(data) > MAXIMUM_YAML_BYTES:
        raise ValueError(f"it has more than {MAXIMUM_YAML_BYTES >> 20} MiB")
    try:
        return yaml.load(data.decode("utf-8"), _PlainLoader)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def parse_document(data: bytes, description: type[Described]) -> Described:
    """Parse JSON into what it is described as; raises `ValueError` as `check_document`."""
    try:
        return description.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(_name_first(error)) from error


def check_document(content: Any, description: type[Description]) -> None:
    """Check a parsed document; raises `ValueError` that names the first key that is wrong."""
    try:
        description.model_validate(content)
    except ValidationError as error:
        raise ValueError(_name_first(error)) from error


def _name_first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "it"
    given = repr(first["input"])
    given = given if len(given) <= 60 else f"{given[:57]}..."
    return f"{where}: {first['msg']}, not {given}"


class _PlainLoader(yaml.SafeLoader):
    """Without aliases, by which a few bytes become gigabytes, of bounded depth, each key once."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*); write the value out")
        if self._depth == MAXIMUM_YAML_DEPTH:
            raise yaml.YAMLError(f"it is nested more than {MAXIMUM_YAML_DEPTH} deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        names = [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
        twice = sorted(name for name, number in Counter(names).items() if number > 1)
        if twice:
            raise yaml.YAMLError(f"it says {', '.join(twice[:5])} twice; keep one")
        return super().construct_mapping(node, deep)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has the value {name}, which is no number")


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text}, which is too large")
    return number
