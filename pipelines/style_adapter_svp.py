"""Style adapters: a style that was trained on a frozen checkpoint, in a small folder of its own.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ModelMixin
from diffusers.utils import logging
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

ADAPTER_WEIGHTS = "style_adapter.safetensors"
ADAPTER_CONFIG = "style_adapter.json"
ADAPTER_FORMAT = "svp-style-adapter"
STYLE_PARTS = ("attn_style.", "norm_style.", "style_projection.")
# Audio and style enter the adaptive norms through one layer; the style's columns are the last.
CONDITION_LAYER = "condition_embedding.linear_1.weight"

logger = logging.get_logger(__name__)


class StyleAdapterError(ValueError):
    """A style adapter that is missing, damaged, or of another checkpoint."""


@dataclass(frozen=True)
class BaseStyle:
    """What a style adapter took the place of.

    Attributes:
        weights: of `get_style_weights`, copies.
        style_encoder: of the checkpoint.
    """

    weights: dict[str, torch.Tensor]
    style_encoder: ModelMixin


def get_style_weights(unet: ModelMixin) -> dict[str, torch.Tensor]:
    """The weights of a UNet through which style enters, by name: views, which can be written to.

    A LoRA's own weights are no part of them.

    Args:
        unet: a `TemporalUNet`.
    """
    return _divide_weights(unet)[0]


def fingerprint_base(unet: ModelMixin) -> str:
    """Tell UNets apart by all their weights but those of `get_style_weights`, and of LoRAs.

    The weights' signs are what counts, since rounding to another dtype leaves them.

    Args:
        unet: a `TemporalUNet`, of any dtype.

    Returns:
        64 hexadecimal digits, a SHA-256 of names, shapes and signs.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(_divide_weights(unet)[1].items()):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        signs = torch.signbit(weight).cpu().contiguous().numpy()
        digest.update(np.packbits(signs).tobytes())
    return digest.hexdigest()


def _divide_weights(unet: ModelMixin) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The style's weights, and all others."""
    style: dict[str, torch.Tensor] = {}
    others: dict[str, torch.Tensor] = {}
    audio_columns = unet.config.cross_attention_dim
    for name, parameter in unet.named_parameters():
        if "lora_" in name:
            continue
        name, weight = name.replace(".base_layer.", "."), parameter.detach()
        if name == CONDITION_LAYER:
            others[name], style[name] = weight[:, :audio_columns], weight[:, audio_columns:]
        elif any(part in name for part in STYLE_PARTS):
            style[name] = weight
        else:
            others[name] = weight
    return style, others


class StyleAdapterMixin:
    """Style adapters of a pipeline that has the components named here.

    Loading one puts weights into the UNet and a style encoder into the pipeline; its scale is the
    pipeline's, and is handed to the UNet at each call.
    """

    unet: ModelMixin
    style_encoder: ModelMixin
    head_motion: ModelMixin | None
    name_or_path: str
    register_modules: Any  # of `DiffusionPipeline`
    _base_style: BaseStyle | None = None
    _style_adapter_scale: float = 1.0

    @property
    def style_adapter_scale(self) -> float:
        """Factor on what style adds, of a call with a style adapter; 1 without one."""
        return self._style_adapter_scale

    def set_style_adapter_scale(self, scale: float) -> None:
        """Set how strong the loaded adapter is.

        Args:
            scale: 0 adds nothing: the video of a checkpoint without style, bit for bit; 1, as it
                is after loading, is what was trained. It multiplies `style_attention_scale`.

        Raises:
            ValueError: if no adapter is loaded, or the scale is negative or not finite.
        """
        if self._base_style is None:
            raise ValueError("No style adapter is loaded: call `load_style_adapter` first.")
        if not (math.isfinite(scale) and scale >= 0):
            raise ValueError(f"The scale of a style adapter must be 0 or more, got {scale}.")
        self._style_adapter_scale = float(scale)

    def save_style_adapter(
        self, save_directory: str | os.PathLike[str], base_model: str | None = None
    ) -> None:
        """Save this pipeline's style: the UNet's style attention and projection, and the encoder.

        `style_adapter.json` names the UNet that they belong to, by its name and by
        `fingerprint_base`.

        Args:
            save_directory: folder to write into.
            base_model: name of the checkpoint; by default what it was loaded as, without the place
                where it lies on this machine.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        if base_model is None:
            loaded = self.name_or_path or "unnamed"
            base_model = Path(loaded).resolve().name if Path(loaded).exists() else loaded
        weights = {
            name: weight.detach().cpu().contiguous().clone()
            for name, weight in get_style_weights(self.unet).items()
        }
        config = {
            "format": ADAPTER_FORMAT,
            "base_model": base_model,
            "base_fingerprint": fingerprint_base(self.unet),
        }
        save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        self.style_encoder.save_pretrained(folder / "style_encoder")
        path = folder / "style_encoder" / "config.json"
        encoder = json.loads(path.read_text(encoding="utf-8"))
        encoder.pop("_name_or_path", None)
        for file, content in ((path, encoder), (folder / ADAPTER_CONFIG, config)):
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            file.write_text(text, encoding="utf-8")

    def load_style_adapter(
        self, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> None:
        """Load a style adapter in place of the checkpoint's own style, or of the one loaded before.

        From then on styles are those of the adapter's encoder. `save_pretrained` saves the
        checkpoint with them. Load it before the pipeline is offloaded.

        Args:
            pretrained_model_name_or_path: folder, or id of a repository on the Hub.
            kwargs: of `huggingface_hub.snapshot_download`, for instance `revision` and `token`.

        Raises:
            StyleAdapterError: if there is none, it is damaged, or it belongs to another checkpoint.
            ValueError: if the pipeline is offloaded.
        """
        self._check_not_offloaded()
        folder = find_style_adapter(pretrained_model_name_or_path, **kwargs)
        config = read_adapter_config(folder)
        if config["base_fingerprint"] != fingerprint_base(self.unet):
            raise StyleAdapterError(
                f"The style adapter {folder.name} was trained on {config['base_model']}, whose "
                "UNet is not this pipeline's: its style would be noise. Load it on "
                f"{config['base_model']}, or train one on this checkpoint."
            )
        weights = self._read_adapter_weights(folder)
        encoder = self._read_adapter_encoder(folder)
        self.unload_style_adapter()
        own = {name: weight.clone() for name, weight in get_style_weights(self.unet).items()}
        base = BaseStyle(own, self.style_encoder)
        if self.head_motion is not None and (
            encoder.config.encoder_id != self.style_encoder.config.encoder_id
        ):
            logger.warning(
                "The head motion of this checkpoint was trained with another style encoder than "
                "that of the adapter, and moves in a style of its own; pass "
                'head_motion="still" or poses.'
            )
        self._put_style(weights, encoder)
        self._base_style = base

    def unload_style_adapter(self) -> None:
        """Give the checkpoint its own style back; without an adapter nothing changes.

        Raises:
            ValueError: if the pipeline is offloaded.
        """
        if self._base_style is not None:
            self._check_not_offloaded()
            self._put_style(self._base_style.weights, self._base_style.style_encoder)
        self._base_style, self._style_adapter_scale = None, 1.0

    def _put_style(self, weights: dict[str, torch.Tensor], encoder: ModelMixin) -> None:
        for name, weight in get_style_weights(self.unet).items():
            weight.copy_(weights[name])
        encoder.to(self.style_encoder.device, self.style_encoder.dtype)
        self.register_modules(style_encoder=encoder)

    def _check_not_offloaded(self) -> None:
        if any(weight.is_meta for weight in self.unet.parameters()) or getattr(
            self, "_all_hooks", None
        ):
            raise ValueError(
                "The weights of an offloaded pipeline cannot be replaced: load or unload the "
                "style adapter first, and enable offloading then."
            )

    def _read_adapter_weights(self, folder: Path) -> dict[str, torch.Tensor]:
        path = folder / ADAPTER_WEIGHTS
        try:
            weights: dict[str, torch.Tensor] = load_file(path)
        except (OSError, SafetensorError) as error:
            raise StyleAdapterError(f"{path} cannot be read: {error}") from error
        expected = {name: tuple(w.shape) for name, w in get_style_weights(self.unet).items()}
        given = {name: tuple(weight.shape) for name, weight in weights.items()}
        wrong = sorted(dict(expected.items() ^ given.items()))
        if wrong:
            raise StyleAdapterError(
                f"{path} has not the style weights of this UNet: {len(wrong)} are missing, unknown "
                f"or of another shape, first {wrong[0]}."
            )
        return weights

    def _read_adapter_encoder(self, folder: Path) -> ModelMixin:
        try:
            encoder, info = type(self.style_encoder).from_pretrained(
                str(folder),
                subfolder="style_encoder",
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise StyleAdapterError(f"{folder} has no style encoder: {error}") from error
        wrong = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
        if wrong:
            raise StyleAdapterError(f"The style encoder of {folder} is incomplete: {wrong[:3]}.")
        if encoder.config.style_dim != self.unet.config.style_dim:
            raise StyleAdapterError(
                f"The style encoder of {folder} gives {encoder.config.style_dim} numbers, the UNet "
                f"takes {self.unet.config.style_dim}."
            )
        loaded: ModelMixin = encoder.eval()
        return loaded


def find_style_adapter(name_or_path: str | os.PathLike[str], **kwargs: Any) -> Path:
    """The folder of a style adapter; one on the Hub is downloaded to its cache.

    Args:
        name_or_path: folder, or id of a repository on the Hub.
        kwargs: of `huggingface_hub.snapshot_download`.

    Raises:
        StyleAdapterError: if there is none.
    """
    try:
        folder = Path(name_or_path)
        is_folder = folder.is_dir()
    except (OSError, TypeError) as error:  # the name is too long, or none
        raise StyleAdapterError(f"{name_or_path!r:.200} names no folder: {error}") from error
    if not is_folder:
        wanted = [ADAPTER_WEIGHTS, ADAPTER_CONFIG, "style_encoder/*"]
        try:
            folder = Path(snapshot_download(str(name_or_path), allow_patterns=wanted, **kwargs))
        except (OSError, ValueError) as error:
            raise StyleAdapterError(
                f"{name_or_path} is neither a folder nor a repository that the Hub gives us "
                f"({error}). Check the name, your connection, and, if it is private, "
                "`hf auth login`."
            ) from error
    missing = [name for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG) if not (folder / name).is_file()]
    if missing:
        raise StyleAdapterError(f"{name_or_path} is no style adapter: it lacks {missing[0]}.")
    return folder


def read_adapter_config(folder: Path) -> dict[str, str]:
    """Read `style_adapter.json`: `base_model`, `base_fingerprint`.

    Raises:
        StyleAdapterError: if it is not such a file.
    """
    path = folder / ADAPTER_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StyleAdapterError(f"{path} cannot be read: {error}") from error
    wanted = ("base_model", "base_fingerprint")
    if not isinstance(config, dict) or config.get("format") != ADAPTER_FORMAT:
        raise StyleAdapterError(f"{path} is not the description of a style adapter.")
    if not all(isinstance(config.get(name), str) for name in wanted):
        raise StyleAdapterError(f"{path} does not say which checkpoint it was trained on.")
    return {name: config[name] for name in wanted}
