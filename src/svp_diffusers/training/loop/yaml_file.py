"""One YAML file a run -> a validated dataclass."""

import types
import typing
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from svp_diffusers.errors import ConfigurationError, MediaError
from svp_diffusers.media.documents import parse_yaml
from svp_diffusers.media.input import check_input

MOST_COUNT = 2**63
Configuration = TypeVar("Configuration")


def load_configuration(path: str | Path, kind: type[Configuration]) -> Configuration:
    """Read a flat YAML mapping into the dataclass `kind`, whose `__post_init__` checks the values.

    Raises:
        MediaError: the file is missing or empty.
        ConfigurationError: no YAML mapping, an unknown or missing key, or a value of a wrong type.
    """
    try:
        values = parse_yaml(check_input(path).read_bytes())
    except MediaError:
        raise
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must be a mapping of option: value")
    return build_configuration(values, kind, str(path))


def build_configuration(
    values: dict[str, Any], kind: type[Configuration], where: str
) -> Configuration:
    """Check the keys and types of `values` and make the dataclass; raises `ConfigurationError`."""
    options = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(map(str, values)) - set(options))
    if unknown:
        raise ConfigurationError(
            f"{where}: unknown {', '.join(unknown[:5])}; known are {', '.join(options)}"
        )
    missing = [
        name
        for name, field in options.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise ConfigurationError(f"{where}: missing {', '.join(missing)}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _check_type(where, name, v, hints[name]) for name, v in values.items()})


def save_configuration(configuration: Any, path: Path) -> None:
    """Write a configuration as YAML, all defaults spelled out."""
    path.write_text(yaml.safe_dump(asdict(configuration), sort_keys=False))


def _check_type(where: str, name: str, value: Any, hint: Any) -> Any:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in allowed and type(value) is int and abs(value) < MOST_COUNT:
        value = float(value)
    if type(value) not in allowed:
        wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in allowed)
        given = repr(value)
        given = given if len(given) <= 60 else f"{given[:57]}..."
        raise ConfigurationError(f"{where}: {name} must be {wanted}, not {given}")
    return value
