"""The machine-readable mark that a video or picture is synthetic, in its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

# IPTC NewsCodes, "Digital Source Type": media made by a trained model.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

# The comment repeats the value because programs that copy an MP4 keep comments but not other tags.
SYNTHETIC_MARK = {
    "digitalSourceType": DIGITAL_SOURCE_TYPE,
    "comment": f"Synthetic video made by svp-diffusers, not a recording ({DIGITAL_SOURCE_TYPE})",
}


XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def mark_picture() -> PngInfo:
    """The mark of a PNG (`save(..., pnginfo=mark_picture())`): as text, and as IPTC's XMP."""
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    for name, value in SYNTHETIC_MARK.items():
        mark.add_text(name, value.replace("video", "picture"))
    mark.add_itxt("XML:com.adobe.xmp", XMP)
    return mark


def read_mark(path: str | Path) -> dict[str, str] | None:
    """The tags that mark a video or PNG as synthetic, or None when it carries none of them.

    A missing mark proves nothing: editing or uploading a video may remove metadata. Raises
    `MediaError` for what is not media.
    """
    # Manifests and datasets need the constants alone, at times where no PyAV is installed.
    from svp_diffusers.media.containers import open_container
    from svp_diffusers.media.input import check_input

    with check_input(path).open("rb") as file:
        is_png = file.read(8) == b"\x89PNG\r\n\x1a\n"
    if is_png:
        tags = _read_texts(path)
    else:
        with open_container(path) as container:
            tags = dict(container.metadata)
    return {name: text for name, text in tags.items() if DIGITAL_SOURCE_TYPE in text} or None


def _read_texts(path: str | Path) -> dict[str, str]:
    """The texts of a PNG."""
    from PIL import Image

    from svp_diffusers.errors import MediaError

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return {name: str(text) for name, text in picture.text.items()}  # type: ignore[attr-defined]
    except Exception as error:  # as Pillow's plug-in has it, where a file is damaged
        raise MediaError(f"{path} cannot be read: {error}") from error
