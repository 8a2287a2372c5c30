"""What an index must say for a dataset to be read by it."""

from collections import Counter
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict

from svp_diffusers.data.clips import HEAD_KEYPOINT_LAYOUTS, KEY, SPLITS
from svp_diffusers.expression.track import EXPRESSION_SPACES, MAXIMUM_FPS
from svp_diffusers.media.documents import Description, check_document


def _check_rate(text: str) -> str:
    if not 1 <= Fraction(text) <= MAXIMUM_FPS:
        raise ValueError(f"a frame rate is 1 to {MAXIMUM_FPS}")
    return text


def _one_of(*values: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in values:
            raise ValueError(f"known are {', '.join(values)}")
        return value

    return AfterValidator(check)


_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Size = Annotated[int, Field(ge=0, lt=2**32)]
_Side = Annotated[int, Field(ge=1, le=2**14)]
_Member = Annotated[tuple[str, _Size], Strict(False)]  # JSON has lists alone
_Split = Annotated[str, _one_of(*SPLITS)]
_ShardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.tar$")]


class _Metadata(Description):
    split: _Split


class _Header(Description):
    """Of a clip; see `StoredClip`."""

    fps: Annotated[
        str, Field(pattern="^[0-9]{1,9}(/[1-9][0-9]{0,8})?$"), AfterValidator(_check_rate)
    ]
    frames: Annotated[int, Field(ge=1, lt=10**6)]
    pictures: Literal["jpeg", "latents"]
    height: _Side | None
    width: _Side | None
    samples: _Size
    expression_space: Annotated[str, _one_of(*EXPRESSION_SPACES)] | None
    head_keypoints: Annotated[str, _one_of(*HEAD_KEYPOINT_LAYOUTS)] | None
    metadata: _Metadata


class _Clip(Description):
    key: Annotated[str, Field(pattern=f"^{KEY.pattern}$", max_length=80)]
    shard: _ShardName
    offset: _Count
    bytes: _Count
    header: _Header
    sizes: Annotated[list[_Member], Field(default_factory=list)]
    frame_sizes: Annotated[list[_Size], Field(default_factory=list)]


class _Shard(Description):
    name: _ShardName
    split: _Split
    bytes: _Count
    clips: _Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Index(Description):
    shards: list[_Shard]
    clips: list[_Clip]


def check_index(content: dict[str, Any]) -> None:
    """Check a parsed index, its checksum apart.

    Raises:
        ValueError: naming the first value that is wrong.
    """
    check_document(content, _Index)
    shards = {shard["name"]: shard for shard in content["shards"]}
    clips = Counter(clip["shard"] for clip in content["clips"])
    for name, shard in shards.items():
        if clips.pop(name, 0) != shard["clips"]:
            raise ValueError(f"shard {name} does not have the {shard['clips']} clips it should")
    if clips or len(shards) < len(content["shards"]):
        raise ValueError("a shard is listed twice, or clips lie in one that is not listed")
    keys = Counter(clip["key"] for clip in content["clips"])
    if keys and keys.most_common(1)[0][1] > 1:
        raise ValueError(f"two clips have the key {keys.most_common(1)[0][0]}")
    for clip in content["clips"]:
        if clip["offset"] + clip["bytes"] > shards[clip["shard"]]["bytes"]:
            raise ValueError(f"clip {clip['key']} ends after its shard")
