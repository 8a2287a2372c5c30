"""The machine-readable mark that a video is synthetic, in the container's metadata."""

from pathlib import Path

# IPTC NewsCodes, "Digital Source Type": media made by a trained model.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

# The comment repeats the value because programs that copy an MP4 keep comments but not other tags.
SYNTHETIC_MARK = {
    "digitalSourceType": DIGITAL_SOURCE_TYPE,
    "comment": f"Synthetic video made by svp-diffusers, not a recording ({DIGITAL_SOURCE_TYPE})",
}


def read_mark(path: str | Path) -> dict[str, str] | None:
    """The tags that mark a video as synthetic, or None when it carries none of them.

    A missing mark proves nothing: editing or uploading a video may remove metadata. Raises
    `MediaError` for what is not media.
    """
    # Manifests and datasets need the constants alone, at times where no PyAV is installed.
    from svp_diffusers.media.input import open_container

    with open_container(path) as container:
        marks = {
            name: value
            for name, value in container.metadata.items()
            if DIGITAL_SOURCE_TYPE in value
        }
    return marks or None
