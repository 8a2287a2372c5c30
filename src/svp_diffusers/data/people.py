"""Who is in a clip, by its metadata: whose face is seen, and who speaks.

In real video that is one person with one name. The face (`identity`) of a procedural talker and the
voice and manner (`speaker`) are drawn independently, so one speaker is seen with many faces.
"""

from collections.abc import Mapping
from typing import Any


def find_person(metadata: Mapping[str, Any]) -> str | None:
    """Whose face is seen: the `identity` if there is one, else the `speaker`, else None."""
    return _first(metadata, "identity", "speaker")


def find_speaker(metadata: Mapping[str, Any]) -> str | None:
    """Who speaks in a style: the `speaker` if there is one, else the `identity`, else None."""
    return _first(metadata, "speaker", "identity")


def _first(metadata: Mapping[str, Any], *names: str) -> str | None:
    known = (metadata.get(name) for name in names)
    return next((str(value) for value in known if value not in (None, "")), None)
