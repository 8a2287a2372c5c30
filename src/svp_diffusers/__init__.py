"""SVP, Style-Enhanced Vivid Portrait (arXiv 2409.03270), on Hugging Face diffusers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svp_diffusers.checkpoints.loading import SVP_TINY
    from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
    from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

__version__ = "0.1.0"
__all__ = ["SVP_TINY", "SVPTalkingHeadPipeline", "StyleDistribution", "StyleEncoder"]

_HOMES = {
    "SVP_TINY": "svp_diffusers.checkpoints.loading",
    "SVPTalkingHeadPipeline": "svp_diffusers.pipelines.pipeline_svp_talking_head",
    "StyleDistribution": "svp_diffusers.models.style_encoder_svp",
    "StyleEncoder": "svp_diffusers.models.style_encoder_svp",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that the import itself stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
