"""The SVP pipeline: portrait + speech + style in, talking-head video out (arXiv 2409.03270).

A checkpoint on the Hub carries this file and the siblings that it imports beside its weights. It
knows its components by what they do, and takes images, waveforms, tensors and styles. Files, faces
and clips are the work of the `svp_diffusers` package.
"""

import importlib
import importlib.util
import inspect
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils import BaseOutput, logging
from diffusers.utils.dynamic_modules_utils import get_relative_imports
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from huggingface_hub import HfApi
from PIL import Image
from torch.nn import functional as F
from transformers import FeatureExtractionMixin, PreTrainedModel

if not __name__.startswith("svp_diffusers."):
    # A checkpoint's copy, which diffusers runs under a name of its own making. The relative imports
    # below would break on a dot in the repository's name, and find the files of a checkpoint loaded
    # before. So this file is a package, which holds the files beside it as they now are.
    __path__ = [str(Path(__file__).parent)]
    __package__, __spec__.submodule_search_locations = __name__, __path__
    for loaded in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
        del sys.modules[loaded]
    importlib.invalidate_caches()

from .speech_svp import Audio, count_frames, encode_speech, prepare_waveform, window_audio

STYLE_FADE_SECONDS = 0.4  # between the styles of a schedule
DECODE_FRAMES = 8  # frames the VAE decodes at once

CODE_FILE = "pipeline_svp_talking_head"  # this file's name in a checkpoint
# Where this file is part of the package, and not a checkpoint's copy of it.
MODELS_PACKAGE = "svp_diffusers.models" if __name__.startswith("svp_diffusers.") else None
COMPONENT_LIBRARIES = ("diffusers", "transformers")  # components of any other are custom code

# The card of a repository that has none; the package writes fuller ones.
CARD = """---
library_name: diffusers
pipeline_tag: image-to-video
tags: [talking-head, portrait-animation, svp]
---
# {repo_id}

Limits: pushed without a word on its training data, quality or licence; ask its owner before use.

A checkpoint of SVP (Style-Enhanced Vivid Portrait, arXiv 2409.03270): a portrait, speech and a
speaking style go in, a talking-head video comes out. It carries the code that runs it:

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{repo_id}", trust_remote_code=True)
```

## Responsible use

Animate a face, and use a voice, only with the consent of the people they belong to. Impersonate
nobody, and tell viewers that the video is synthetic.
"""

logger = logging.get_logger(__name__)

Style = Any  # None, a name, "from_audio", a distribution, a tensor or a schedule: see `__call__`


@dataclass
class SVPTalkingHeadPipelineOutput(BaseOutput):
    """What the pipeline returns.

    Attributes:
        frames: one entry a video: a list of PIL images, an array (frames, height, width, 3) or a
            tensor (frames, 3, height, width) in [0, 1], or latents (channels, frames, height,
            width), by `output_type`. Videos of a batch may differ in length.
        styles: one entry a video: the style vector (style_dim,) or vectors (frames, style_dim) that
            it was made with. Passing one as `style` repeats that performance.
    """

    frames: list[Any]
    styles: list[torch.Tensor]


@dataclass(frozen=True)
class GuidancePass:
    """One evaluation of the UNet: its weight in the guided prediction, and what it is shown."""

    weight: float
    portrait: bool
    audio: bool
    style: bool


@dataclass(frozen=True)
class Conditions:
    """Everything the UNet is told of one video, prepared once and read by every step."""

    audio_tokens: torch.Tensor  # (frames, tokens, dim)
    style: torch.Tensor  # (style_dim,) or (frames, style_dim)
    reference_latents: torch.Tensor  # (1, channels, height, width)
    reference_features: dict[str, torch.Tensor]  # each (1, tokens, dim)
    head_images: Any | None  # of one frame or of all: see `head_keypoints`

    @property
    def num_frames(self) -> int:
        """Length of the video."""
        return len(self.audio_tokens)


def context_windows(num_frames: int, length: int, overlap: int) -> list[tuple[int, int]]:
    """Cut a video into overlapping windows (start, stop) that cover every frame.

    All windows have `length` frames: the last is moved back to end with the video. A video shorter
    than that is one window.
    """
    if num_frames <= length:
        return [(0, num_frames)]
    starts = [*range(0, num_frames - length, length - overlap), num_frames - length]
    return [(start, start + length) for start in starts]


def divide_frames(num_frames: int, length: int) -> list[tuple[int, int]]:
    """Divide a video into windows (start, stop) of at most `length` frames; none overlap."""
    starts = range(0, num_frames, length)
    return [(start, min(start + length, num_frames)) for start in starts]


def window_weights(length: int, overlap: int) -> torch.Tensor:
    """Weights (length,) of a window's frames: a linear ramp over the overlap at either end."""
    position = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(position, length + 1 - position).clamp(max=overlap + 1)


def share_noise(own: torch.Tensor, common: torch.Tensor, share: float) -> torch.Tensor:
    """Noise of unit variance, `share` of which comes from `common`; both have unit variance."""
    return (1 - share) ** 0.5 * own + share**0.5 * common


def plan_guidance(
    guidance_scale: float, audio_guidance_scale: float | None, style_guidance_scale: float | None
) -> list[GuidancePass]:
    """Say which predictions guidance needs, and their weights; one of weight 0 is left out.

    Conditions are added one after another, first those under `guidance_scale`, then audio and style
    where they have a scale of their own; each step is amplified by its scale:
    `p0 + g1 * (p1 - p0) + g2 * (p2 - p1) + ...`. (Composition: our choice.)
    """
    own_audio, own_style = audio_guidance_scale is not None, style_guidance_scale is not None
    shown = [{"portrait": False, "audio": False, "style": False}]
    shown.append({"portrait": True, "audio": not own_audio, "style": not own_style})
    scales = [guidance_scale]
    if audio_guidance_scale is not None:
        shown.append({**shown[-1], "audio": True})
        scales.append(audio_guidance_scale)
    if style_guidance_scale is not None:
        shown.append({**shown[-1], "style": True})
        scales.append(style_guidance_scale)
    weights = [before - after for before, after in zip([1.0, *scales], [*scales, 0.0], strict=True)]
    return [
        GuidancePass(weight, **conditions)
        for weight, conditions in zip(weights, shown, strict=True)
        if weight != 0
    ]


class SVPTalkingHeadPipeline(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """Makes a portrait speak, in a style that is sampled from a probability distribution.

    Args:
        vae: pixels in [-1, 1] to latents and back.
        reference_unet: `ReferenceUNet`, latents of the portrait to reference features.
        unet: `TemporalUNet`, predicts the noise (or velocity) of a clip of latents.
        head_guider: `HeadKeypointGuider`, pictures of head keypoints to features.
        audio_encoder: a wav2vec 2.0-like model (HuBERT, WavLM, XLS-R): a waveform of 16 kHz to
            embeddings at 50 Hz.
        feature_extractor: normalises the waveform.
        audio_projector: `AudioProjector`, windows of embeddings to audio tokens.
        style_encoder: `StyleEncoder`, holds the style prior and the bank of named styles.
        scheduler: any diffusers scheduler.
        num_inference_steps, guidance_scale, audio_guidance_scale, style_guidance_scale,
        shared_noise: the defaults of a call, which depend on how a checkpoint was trained, so it
            carries them.
        min_portrait_psnr: a warning is given for a portrait that the VAE gives back with fewer
            decibels than this: it is unlike all that the checkpoint was trained on. 0 never warns.
    """

    model_cpu_offload_seq = (
        "audio_encoder->style_encoder->audio_projector->reference_unet->head_guider->unet->vae"
    )
    _callback_tensor_inputs: ClassVar = ["latents"]
    _lora_loadable_modules: ClassVar = ["unet"]

    def __init__(
        self,
        vae: AutoencoderKL,
        reference_unet: ModelMixin,
        unet: ModelMixin,
        head_guider: ModelMixin,
        audio_encoder: PreTrainedModel,
        feature_extractor: FeatureExtractionMixin,
        audio_projector: ModelMixin,
        style_encoder: ModelMixin,
        scheduler: SchedulerMixin,
        num_inference_steps: int = 25,
        guidance_scale: float = 3.5,
        audio_guidance_scale: float | None = None,
        style_guidance_scale: float | None = None,
        shared_noise: float = 0.0,
        min_portrait_psnr: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            reference_unet=reference_unet,
            unet=unet,
            head_guider=head_guider,
            audio_encoder=audio_encoder,
            feature_extractor=feature_extractor,
            audio_projector=audio_projector,
            style_encoder=style_encoder,
            scheduler=scheduler,
        )
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            shared_noise=shared_noise,
            min_portrait_psnr=min_portrait_psnr,
        )
        scales = {
            "audio_guidance_scale": audio_guidance_scale,
            "style_guidance_scale": style_guidance_scale,
        }
        # In an index, what is null is a component that is left out.
        self.register_to_config(
            **{name: scale for name, scale in scales.items() if scale is not None}
        )
        self.vae_scale_factor = 8
        if vae:  # an autoencoder may fold patches of pixels into channels before its blocks
            halvings = len(vae.config.block_out_channels) - 1
            self.vae_scale_factor = vae.config.get("patch_size", 1) * 2**halvings
        self.video_processor = VideoProcessor(vae_scale_factor=self.vae_scale_factor)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> "SVPTalkingHeadPipeline":
        """Build the pipeline from another's components; see `DiffusionPipeline.from_pipe`."""
        # diffusers would keep a component only if its very class stood in the annotation.
        names = inspect.signature(cls.__init__).parameters
        ours = {name: part for name, part in pipeline.components.items() if name in names}
        built: SVPTalkingHeadPipeline = super().from_pipe(pipeline, **{**ours, **kwargs})
        return built

    def to_json_string(self) -> str:
        """The index of the checkpoint, naming custom code by its file, and no path of a machine."""
        index = json.loads(super().to_json_string())
        index.pop("_name_or_path", None)
        index["_class_name"] = [CODE_FILE, type(self).__name__]
        for name, module in self._custom_modules().items():
            index[name][0] = module.rpartition(".")[2]
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def save_config(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Write `model_index.json`, and beside it the code of the pipeline and its components.

        Whoever loads the checkpoint needs that code, and diffusers saves none: without it, what was
        loaded as remote code, fine-tuned and saved could not be loaded again.

        Raises:
            ValueError: if a class was defined in a notebook or script, hence in no file of its own.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        code = self._find_code(type(self).__module__)
        for file_name in (f"{CODE_FILE}.py", "pipeline.py"):  # `custom_pipeline=` reads the latter
            shutil.copyfile(code, folder / file_name)
        for sibling in get_relative_imports(code):
            shutil.copyfile(Path(code).with_name(f"{sibling}.py"), folder / f"{sibling}.py")
        for name, module in self._custom_modules().items():
            (folder / name).mkdir(exist_ok=True)
            file_name = f"{module.rpartition('.')[2]}.py"
            shutil.copyfile(self._find_code(module), folder / name / file_name)
        for path in folder.glob("*/config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            if config.pop("_name_or_path", None) is not None:
                path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        super().save_config(folder, push_to_hub, **kwargs)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
    ) -> None:
        """Save weights and code; see `DiffusionPipeline.save_pretrained`."""
        super().save_pretrained(save_directory, safe_serialization, variant, max_shard_size)
        if push_to_hub:
            name = repo_id or Path(save_directory).name
            created = HfApi(token=token).create_repo(name, private=private, exist_ok=True)
            self._upload_folder(save_directory, created.repo_id, token, commit_message, create_pr)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        subfolder: str | None = None,
    ) -> Any:
        """Push weights, styles and code in one commit, with a card if the repository has none.

        Shards that it replaces are deleted in the same commit; a card that is there stays. See
        `DiffusionPipeline.push_to_hub`.
        """
        created = HfApi(token=token).create_repo(repo_id, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, safe_serialization, variant)
            return self._upload_folder(
                folder, created.repo_id, token, commit_message, create_pr, subfolder
            )

    def _upload_folder(
        self,
        working_dir: str | os.PathLike[str],
        repo_id: str,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        subfolder: str | None = None,
    ) -> Any:
        """Upload in one commit, which also deletes the shards it replaces; a card there stays."""
        api, folder = HfApi(token=token), Path(working_dir)
        has_card = api.file_exists(repo_id, f"{subfolder}/README.md" if subfolder else "README.md")
        if not has_card and not (folder / "README.md").exists():
            (folder / "README.md").write_text(CARD.format(repo_id=repo_id), encoding="utf-8")
        replaced = []
        for path in folder.glob("*/*.safetensors"):
            stem = re.sub(r"-\d{5}-of-\d{5}$", "", path.stem)
            name, _, variant = stem.partition(".")
            index = ".".join([name, "safetensors.index", *filter(None, [variant]), "json"])
            for pattern in (f"{stem}.safetensors", f"{stem}-?????-of-?????.safetensors", index):
                replaced.append(f"{path.parent.name}/{pattern}")
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            path_in_repo=subfolder,
            commit_message=commit_message or f"Upload {type(self).__name__}",
            create_pr=create_pr,
            ignore_patterns=["README.md"] if has_card else None,
            delete_patterns=replaced,
        )

    @staticmethod
    def _find_code(module: str) -> str:
        path = sys.modules[module].__file__ if module != "__main__" else None
        if path is None:
            raise ValueError(
                "A class of this pipeline was defined in a notebook or script. Put it into a file "
                "of its own and import it from there, so that the checkpoint can carry the file."
            )
        return path

    def _custom_modules(self) -> dict[str, str]:
        """The module that each component defined outside diffusers and transformers comes from."""
        return {
            name: entry[0]
            for name, entry in self.config.items()
            if isinstance(entry, (list, tuple)) and entry[0] not in (None, *COMPONENT_LIBRARIES)
        }

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> "SVPTalkingHeadPipeline":
        """Load a checkpoint of safetensors, by default as float32 whatever it is stored as.

        See `DiffusionPipeline.from_pretrained`.
        """
        kwargs.setdefault("use_safetensors", True)
        if "torch_dtype" not in kwargs:  # transformers would keep its part as it is stored
            kwargs.setdefault("dtype", torch.float32)
        loaded: SVPTalkingHeadPipeline = super().from_pretrained(
            pretrained_model_name_or_path, **kwargs
        )
        return loaded

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | dict[str, torch.Tensor],
        adapter_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Load a LoRA of the UNet, for instance of a speaker, from the Hub, a folder or a dict.

        Other arguments are those of `StableDiffusionLoraLoaderMixin.lora_state_dict`. Set its scale
        with `set_adapters`, merge it with `fuse_lora`, remove it with `unload_lora_weights`.

        Raises:
            ValueError: if a weight is not of a LoRA of the UNet.
        """
        kwargs.setdefault("use_safetensors", True)
        weights, alphas, metadata = self.lora_state_dict(
            pretrained_model_name_or_path_or_dict, return_lora_metadata=True, **kwargs
        )
        foreign = [key for key in weights if not key.startswith("unet.") or "lora" not in key]
        if foreign or not weights:
            raise ValueError(f"This is not a LoRA of the UNet; it has the weights {foreign[:3]}.")
        self.load_lora_into_unet(
            weights, alphas, self.unet, adapter_name, _pipeline=self, metadata=metadata
        )

    def fuse_lora(self, components: Sequence[str] = ("unet",), **kwargs: Any) -> None:
        """Merge the LoRA into the UNet's weights; see `StableDiffusionLoraLoaderMixin`."""
        super().fuse_lora(components=list(components), **kwargs)

    def unfuse_lora(self, components: Sequence[str] = ("unet",), **kwargs: Any) -> None:
        """Undo `fuse_lora`."""
        super().unfuse_lora(components=list(components), **kwargs)

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike[str]) -> dict[str, Any]:
        """Read an index; that it is asked of this class settles which code runs the pipeline.

        Raises:
            ValueError: if a component is not `[library or file name, class name]`.
        """
        index: dict[str, Any] = super()._dict_from_json_file(json_file)
        index["_class_name"] = cls.__name__
        for name, entry in index.items():
            if name.startswith("_") or isinstance(entry, (int, float)):
                continue
            is_pair = isinstance(entry, list) and len(entry) == 2
            if not is_pair or not all(each is None or str(each).isidentifier() for each in entry):
                raise ValueError(
                    f"{json_file} names the component {name} as {entry!r}; expected the name of a "
                    "library, or of a file in the component's folder, and the name of a class."
                )
        return index

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Load an index; see `ConfigMixin.load_config`.

        The package loads the components whose code it has with its own classes, so that it runs no
        code of the checkpoint and needs no `trust_remote_code`.
        """
        loaded = super().load_config(*args, **kwargs)
        if MODELS_PACKAGE is not None:
            index = loaded[0] if isinstance(loaded, tuple) else loaded
            for name, entry in index.items():
                if isinstance(entry, list) and entry[0] not in (None, *COMPONENT_LIBRARIES):
                    module = f"{MODELS_PACKAGE}.{entry[0]}"
                    if importlib.util.find_spec(module):
                        importlib.import_module(module)  # diffusers finds only what is imported
                        index[name] = [module, entry[1]]
        return loaded

    @property
    def guidance_scale(self) -> float:
        """The joint guidance scale of the call that is running."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """The number of denoising steps of the call that is running."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set `pipe._interrupt = True` in a callback to stop denoising."""
        return self._interrupt

    def fill_guidance_scales(
        self,
        guidance_scale: float | None = None,
        audio_guidance_scale: float | None = None,
        style_guidance_scale: float | None = None,
    ) -> tuple[float, float | None, float | None]:
        """The three scales that a call uses, joint, audio and style, where some are not given."""
        if guidance_scale is not None:
            return guidance_scale, audio_guidance_scale, style_guidance_scale
        if audio_guidance_scale is None:
            audio_guidance_scale = self.config.get("audio_guidance_scale")
        if style_guidance_scale is None:
            style_guidance_scale = self.config.get("style_guidance_scale")
        return self.config.guidance_scale, audio_guidance_scale, style_guidance_scale

    def check_inputs(
        self,
        image: Any,
        audio: Any,
        height: int,
        width: int,
        fps: float | Fraction,
        num_inference_steps: int,
        shared_noise: float,
        style_temperature: float,
        num_videos_per_style: int,
        context_length: int,
        context_overlap: int,
        sampling_rate: int,
        generator: torch.Generator | list[torch.Generator] | None,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> None:
        """Check what the caller handed in, before any model runs.

        Raises:
            ValueError: saying which argument is wrong, and what is expected.
        """
        if height % self.vae_scale_factor or width % self.vae_scale_factor or height * width <= 0:
            raise ValueError(
                f"`height` and `width` must be positive multiples of {self.vae_scale_factor}, got "
                f"{height} and {width}."
            )
        for name, value, least in (
            ("fps", fps, 1),
            ("num_inference_steps", num_inference_steps, 1),
            ("num_videos_per_style", num_videos_per_style, 1),
            ("sampling_rate", sampling_rate, 1),
            ("style_temperature", style_temperature, 0),
            ("context_overlap", context_overlap, 0),
        ):
            if not least <= value < float("inf"):
                raise ValueError(f"`{name}` must be {least} or more, got {value}.")
        if not 0 <= shared_noise <= 1:
            raise ValueError(f"`shared_noise` must be from 0 to 1, got {shared_noise}.")
        longest = self.unet.config.motion_max_seq_length
        if not context_overlap < context_length <= longest:
            raise ValueError(
                f"`context_length` must be above `context_overlap` ({context_overlap}) and at most "
                f"{longest}, the longest clip of this checkpoint's motion modules; got "
                f"{context_length}."
            )
        if len(image) != len(audio) or not image:
            raise ValueError(
                f"As many images as recordings are needed, got {len(image)} and {len(audio)}."
            )
        num_videos = len(image) * num_videos_per_style
        if isinstance(generator, list) and len(generator) != num_videos:
            raise ValueError(
                f"A list of generators must have one a video, {num_videos}, got {len(generator)}."
            )
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"`output_type` must be pil, np, pt or latent, got {output_type!r}.")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"`callback_on_step_end_tensor_inputs` may hold {self._callback_tensor_inputs}, "
                f"got {sorted(unknown)}."
            )

    def prepare_waveform(self, audio: Audio, sampling_rate: int) -> torch.Tensor:
        """Bring speech to the audio encoder's rate; see `speech_svp.prepare_waveform`."""
        return prepare_waveform(audio, sampling_rate, self.feature_extractor.sampling_rate)

    def encode_audio(self, waveform: torch.Tensor) -> torch.Tensor:
        """Encode speech (samples,) to embeddings (time, dim); see `speech_svp.encode_speech`."""
        return encode_speech(
            waveform, self.audio_encoder, self.feature_extractor, self._execution_device
        )

    def project_audio(self, embeddings: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Turn embeddings (time, dim) into audio tokens (num_frames, tokens, dim)."""
        num_pad_frames = self.audio_projector.config.num_pad_frames
        windows = window_audio(embeddings, num_frames, num_pad_frames)
        windows = windows.to(self.audio_projector.dtype)
        return torch.cat([self.audio_projector(part) for part in windows.split(256)])

    def prepare_image(
        self, image: Image.Image | np.ndarray | torch.Tensor | str | Path, height: int, width: int
    ) -> torch.Tensor:
        """Bring the portrait to what the VAE takes.

        Args:
            image: a PIL image or the path of one, cropped about its centre to the aspect asked for;
                an array (height, width, 3) or a tensor (3, height, width) in [0, 1], resized.
            height: of the video.
            width: of the video.

        Returns:
            Pixels (1, 3, height, width) in [-1, 1].
        """
        if isinstance(image, (str, Path)):
            image = Image.open(image).convert("RGB")
        resize_mode = "crop" if isinstance(image, Image.Image) else "default"
        pixels = self.video_processor.preprocess(image, height, width, resize_mode=resize_mode)
        return pixels.to(self._execution_device, self.vae.dtype)

    def encode_image(
        self, image: Image.Image | np.ndarray | torch.Tensor | str | Path, height: int, width: int
    ) -> torch.Tensor:
        """Encode the portrait with the VAE; the reference UNet then reads these latents.

        Args:
            image: as `prepare_image` takes it.
            height: of the video.
            width: of the video.

        Returns:
            Latents (1, channels, height / 8, width / 8), scaled for the UNets.
        """
        pixels = self.prepare_image(image, height, width)
        latents: torch.Tensor = self.vae.encode(pixels).latent_dist.mode()
        return (latents * self.vae.config.scaling_factor).to(self.reference_unet.dtype)

    def measure_portrait(
        self,
        image: Image.Image | np.ndarray | torch.Tensor | str | Path,
        latents: torch.Tensor,
        height: int,
        width: int,
    ) -> float:
        """How well the VAE gives the portrait back, which says whether it was trained on such.

        Args:
            image: as `prepare_image` takes it.
            latents: its own, of `encode_image`.
            height: of the video.
            width: of the video.

        Returns:
            Peak signal-to-noise ratio in decibels.
        """
        pixels = self.video_processor.denormalize(self.prepare_image(image, height, width))
        given_back = next(self.decode_latents(latents.transpose(0, 1)))
        error = F.mse_loss(given_back.float().clamp(0, 1), pixels.float())
        return float(-10 * torch.log10(error))

    def check_portrait(
        self,
        image: Image.Image | np.ndarray | torch.Tensor | str | Path,
        latents: torch.Tensor,
        height: int,
        width: int,
    ) -> None:
        """Warn of a portrait unlike those of the training; the arguments of `measure_portrait`."""
        measured = self.measure_portrait(image, latents, height, width)
        if measured < self.config.min_portrait_psnr:
            logger.warning(
                f"This portrait is unlike those that the checkpoint was trained on: its VAE gives "
                f"it back at {measured:.1f} dB, below {self.config.min_portrait_psnr:g} dB. The "
                "video will not look like the portrait. Use a picture of the kind that the "
                "checkpoint's card names, or a checkpoint trained on such pictures."
            )

    def encode_style(
        self,
        style: Style,
        embeddings: torch.Tensor,
        num_frames: int,
        fps: float | Fraction,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draw the style vector, or vectors, of one video.

        Args:
            style: as in `__call__`.
            embeddings: of the speech (time, dim), read by "from_audio".
            num_frames: length of the video.
            fps: its frames a second.
            temperature: factor on the standard deviation; 0 gives the mean.
            generator: of the draw.

        Returns:
            (style_dim,), or (num_frames, style_dim) for a style that changes.

        Raises:
            ValueError: if the style is unknown, malformed or of another style encoder.
        """
        if isinstance(style, (list, tuple)):
            return self._encode_schedule(style, embeddings, num_frames, fps, temperature, generator)
        style_dim = self.style_encoder.config.style_dim
        if isinstance(style, torch.Tensor):
            if style.shape not in ((style_dim,), (num_frames, style_dim)):
                raise ValueError(
                    f"A style tensor must be ({style_dim},) or ({num_frames}, {style_dim}), one a "
                    f"frame; got {tuple(style.shape)}."
                )
            return style.to(self._execution_device, self.unet.dtype)
        if style is None:
            distribution = self.style_encoder.prior()
        elif isinstance(style, str) and style == "from_audio":
            distribution = self._style_from_audio(embeddings)
        elif isinstance(style, str):
            distribution = self.style_encoder.get_style(style)
        else:
            distribution = style
            self._check_style(distribution)
        distribution = distribution.to(self._execution_device, self.unet.dtype)
        drawn: torch.Tensor = distribution.sample(1, temperature, generator)[0]
        return drawn

    def _style_from_audio(self, embeddings: torch.Tensor) -> Any:
        config = self.style_encoder.config
        if config.audio_features != "wav2vec2" or config.audio_dim != embeddings.shape[-1]:
            raise ValueError(
                'style="from_audio" needs a style encoder trained on the embeddings of this '
                f"pipeline's audio encoder ({embeddings.shape[-1]} numbers); this one takes "
                f"{config.audio_dim} numbers of {config.audio_features}."
            )
        return self.style_encoder(audio=embeddings[None].to(self.style_encoder.dtype))[0]

    def _check_style(self, distribution: Any) -> None:
        if not hasattr(distribution, "sample") or not hasattr(distribution, "mean"):
            raise ValueError(
                "`style` must be None, a name, 'from_audio', a StyleDistribution, a tensor or a "
                f"schedule [(seconds, style), ...]; got {type(distribution).__name__}."
            )
        if distribution.mean.ndim != 1:
            raise ValueError(
                f"`style` must be one distribution, got a batch {tuple(distribution.mean.shape)}; "
                "take one of it by its index."
            )
        self.style_encoder.check_style(distribution)

    def _encode_schedule(
        self,
        schedule: Sequence[tuple[float, Style]],
        embeddings: torch.Tensor,
        num_frames: int,
        fps: float | Fraction,
        temperature: float,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        entries = [entry for entry in schedule if isinstance(entry, tuple) and len(entry) == 2]
        starts = [float(start) for start, _ in entries]
        if len(entries) != len(schedule) or not starts or starts[0] != 0:
            raise ValueError(
                "A style schedule is a list of (seconds, style), the first at 0.0: "
                f"got {schedule!r}."
            )
        if starts != sorted(set(starts)):
            raise ValueError(f"The times of a style schedule must increase; got {starts}.")
        if starts[-1] * fps >= num_frames:
            raise ValueError(
                f"The style schedule starts a style at {starts[-1]} s, but the video ends at "
                f"{float(num_frames / fps):.2f} s."
            )
        seconds = torch.arange(num_frames, device=self._execution_device) / float(fps)
        blended: torch.Tensor | None = None
        for start, style in entries:
            vector = self.encode_style(style, embeddings, num_frames, fps, temperature, generator)
            if blended is None:
                blended = vector.expand(num_frames, -1)
            else:
                fade = ((seconds - start) / STYLE_FADE_SECONDS).clamp(0, 1).to(vector.dtype)
                blended = torch.lerp(blended, vector.expand(num_frames, -1), fade[:, None])
        assert blended is not None
        return blended

    def check_head_keypoints(
        self, head_keypoints: Any, num_frames: int, height: int, width: int
    ) -> None:
        """Check that there is one keypoint image, or one a frame, of the size of the video.

        Raises:
            ValueError: if not.
        """
        if len(head_keypoints) not in (1, num_frames):
            raise ValueError(
                f"`head_keypoints` must have one image for a still head, or {num_frames}, one a "
                f"frame; got {len(head_keypoints)}."
            )
        first = self._stack_head_images(head_keypoints[:1])
        if tuple(first.shape[1:]) != (3, height, width):
            raise ValueError(
                f"`head_keypoints` must be images (3, {height}, {width}); got "
                f"{tuple(first.shape[1:])}."
            )

    @staticmethod
    def _stack_head_images(images: Any) -> torch.Tensor:
        """Bring a slice of the keypoint images to a tensor (frames, 3, height, width) in [0, 1]."""
        if isinstance(images, torch.Tensor):
            return images
        if isinstance(images, np.ndarray):
            return torch.from_numpy(images)
        arrays = [np.asarray(image.convert("RGB"), dtype=np.float32) / 255 for image in images]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    def encode_head(self, images: Any, start: int, stop: int) -> torch.Tensor:
        """Features (1, channels, frames, h, w) of the keypoint images of a window of frames."""
        still = len(images) == 1
        window = self._stack_head_images(images[:1] if still else images[start:stop])
        window = window.to(self._execution_device, self.head_guider.dtype)
        features: torch.Tensor = self.head_guider(window.transpose(0, 1)[None])
        return features.expand(-1, -1, stop - start, -1, -1) if still else features

    def prepare_latents(
        self,
        num_frames: Sequence[int],
        height: int,
        width: int,
        generators: Sequence[torch.Generator | None],
        latents: torch.Tensor | None,
        shared_noise: float,
    ) -> torch.Tensor:
        """Draw each video's noise from its own generator, or check the noise that is given.

        Noise of unit variance is drawn for every frame and, if some is shared, for the clip.

        Returns:
            (videos, channels, frames of the longest, height / 8, width / 8), scaled for the
            scheduler. Shorter videos are padded; the padding is never read.

        Raises:
            ValueError: if `latents` has another shape.
        """
        scale = self.vae_scale_factor
        device, dtype = self._execution_device, self.unet.dtype
        channels = self.unet.config.in_channels
        shape = (
            len(num_frames),
            channels,
            max(num_frames),
            height // scale,
            width // scale,
        )
        if latents is None:
            latents = torch.zeros(shape, device=device, dtype=dtype)
            for row, (frames, generator) in enumerate(zip(num_frames, generators, strict=True)):
                noise_shape = (channels, frames, *shape[3:])
                noise = randn_tensor(noise_shape, generator, device=device, dtype=dtype)
                if shared_noise:
                    shared = randn_tensor(
                        (channels, 1, *shape[3:]), generator, device=device, dtype=dtype
                    )
                    noise = share_noise(noise, shared, shared_noise)
                latents[row, :, :frames] = noise
        elif tuple(latents.shape) != shape:
            raise ValueError(f"`latents` must have the shape {shape}, got {tuple(latents.shape)}.")
        return latents.to(device, dtype) * self.scheduler.init_noise_sigma

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        conditions: Conditions,
        passes: Sequence[GuidancePass],
        window: tuple[int, int],
        attention_scales: dict[str, float],
    ) -> torch.Tensor:
        """Predict one window of one video, with guidance.

        Args:
            latents: (1, channels, frames of the window, height, width).
            timestep: of the diffusion.
            conditions: of the video.
            passes: of `plan_guidance`.
            window: (start, stop) in frames.
            attention_scales: of the UNet.

        Returns:
            The guided prediction, shaped as `latents`.
        """
        start, stop = window
        audio_tokens = conditions.audio_tokens[start:stop]
        style = conditions.style[start:stop] if conditions.style.ndim == 2 else conditions.style
        head_features = None
        if conditions.head_images is not None:
            head_features = self.encode_head(conditions.head_images, start, stop)
        prediction = torch.zeros_like(latents)
        for each in passes:
            predicted = self.unet(
                latents,
                timestep,
                audio_tokens if each.audio else torch.zeros_like(audio_tokens),
                style=style[None] if each.style else None,
                reference_features=conditions.reference_features if each.portrait else None,
                reference_latents=conditions.reference_latents if each.portrait else None,
                head_features=head_features if each.portrait else None,
                **attention_scales,
                return_dict=False,
            )[0]
            prediction = prediction + each.weight * predicted
        return prediction

    def predict_video(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        conditions: Conditions,
        passes: Sequence[GuidancePass],
        context_length: int,
        context_overlap: int,
        attention_scales: dict[str, float],
    ) -> torch.Tensor:
        """Predict a video of any length: window by window, blended where the windows overlap.

        Without motion modules every frame is predicted by itself, and no window overlaps another.

        Args:
            latents: (channels, frames, height, width).
            timestep: of the diffusion.
            conditions: of the video.
            passes: of `plan_guidance`.
            context_length: frames of a window.
            context_overlap: frames that neighbouring windows share, if there are motion modules.
            attention_scales: of the UNet.

        Returns:
            The guided prediction, shaped as `latents`.
        """
        blended, total = torch.zeros_like(latents), latents.new_zeros(latents.shape[1], 1, 1)
        if self.unet.config.motion_modules_enabled:
            windows = context_windows(latents.shape[1], context_length, context_overlap)
        else:
            windows = divide_frames(latents.shape[1], context_length)
        for window in windows:
            start, stop = window
            predicted = self.predict(
                latents[None, :, start:stop], timestep, conditions, passes, window, attention_scales
            )[0]
            weights = window_weights(stop - start, context_overlap).to(latents)[:, None, None]
            blended[:, start:stop] += weights * predicted
            total[start:stop] += weights
        return blended / total

    def decode_latents(self, latents: torch.Tensor) -> Iterator[torch.Tensor]:
        """Decode one video a few frames at a time, so that its length does not cost memory.

        Args:
            latents: (channels, frames, height, width), as `output_type="latent"` returns them.

        Yields:
            Pixels (a few frames, 3, height, width) in [0, 1].
        """
        for part in latents.transpose(0, 1).split(DECODE_FRAMES):
            part = part.to(self._execution_device, self.vae.dtype)
            with torch.no_grad():
                pixels = self.vae.decode(part / self.vae.config.scaling_factor).sample
            yield self.video_processor.denormalize(pixels)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        audio: Any,
        style: Style = None,
        *,
        head_keypoints: Any | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: float | Fraction = 25,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        audio_guidance_scale: float | None = None,
        style_guidance_scale: float | None = None,
        reference_attention_scale: float = 1.0,
        audio_attention_scale: float = 1.0,
        style_attention_scale: float = 1.0,
        style_temperature: float = 1.0,
        num_videos_per_style: int = 1,
        context_length: int = 24,
        context_overlap: int = 4,
        shared_noise: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        sampling_rate: int = 16000,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> SVPTalkingHeadPipelineOutput | tuple[list[Any], list[torch.Tensor]]:
        """Make a portrait speak.

        Args:
            image: the portrait: a PIL image, a path, an array (height, width, 3) or a tensor
                (3, height, width) in [0, 1]; or a list of them, one a recording.
            audio: the speech: a waveform (samples,) in [-1, 1], or a path if librosa or soundfile
                is installed; or a list of them, one a portrait.
            style: None draws from the prior; a name, from the checkpoint's style bank;
                "from_audio", from the style of the voice; a `StyleDistribution`, from itself; a
                tensor (style_dim,) or (frames, style_dim) is taken as it is; a schedule
                `[(0.0, "neutral"), (2.5, "happy")]` changes over time, each style fading in over
                0.4 s (our choice). All videos of a batch have the style that is given.
            head_keypoints: pictures of head keypoints, one for a still head or one a frame: a list
                of PIL images, or an array or tensor (frames, 3, height, width) in [0, 1]. None
                leaves the head to the model.
            height: of the video in pixels; the checkpoint's own by default.
            width: of the video in pixels.
            fps: frames a second; the video has `round(duration * fps)` frames.
            num_inference_steps: denoising steps; the checkpoint's own number by default.
            guidance_scale: classifier-free guidance on all conditions together; 1 is none. By
                default the checkpoint's own, and so are then the two below.
            audio_guidance_scale: if given, guidance on the audio by itself, for one more pass.
            style_guidance_scale: if given, guidance on the style by itself, for one more pass,
                which is saved where it equals the audio's.
            reference_attention_scale: factor on what the portrait adds in every block.
            audio_attention_scale: factor on what the audio adds in every block.
            style_attention_scale: factor on what the style adds in every block.
            style_temperature: factor on the style's standard deviation; 0 gives its mean.
            num_videos_per_style: performances of each line, each with its own style and noise.
            context_length: frames denoised together; longer videos are cut into windows.
            context_overlap: frames that neighbouring windows share, if there are motion modules.
            shared_noise: share of the initial noise's variance that all frames of a video have in
                common, 0 (every frame its own, the paper's) to 1 (one noise for all); the
                checkpoint's own by default.
            generator: one for all, or a list with one a video.
            latents: the initial noise (videos, channels, frames, height / 8, width / 8).
            sampling_rate: of the waveforms.
            output_type: "pil", "np", "pt" or "latent".
            return_dict: return an output object rather than a tuple.
            callback_on_step_end: called as `(pipe, step, timestep, tensors)`; may return
                replacements.
            callback_on_step_end_tensor_inputs: names of the tensors it is handed.

        Returns:
            `SVPTalkingHeadPipelineOutput`, or the tuple (frames, styles). Videos are in the order
            of the portraits, those of one portrait together.

        Raises:
            ValueError: saying which argument is wrong and what is expected, before denoising.
        """
        image = image if isinstance(image, list) else [image]
        audio = audio if isinstance(audio, list) else [audio]
        size = (self.unet.config.sample_size or 64) * self.vae_scale_factor
        height, width = height or size, width or size
        if num_inference_steps is None:
            num_inference_steps = self.config.num_inference_steps
        scales = self.fill_guidance_scales(
            guidance_scale, audio_guidance_scale, style_guidance_scale
        )
        if shared_noise is None:
            shared_noise = self.config.shared_noise

        # 1. Check everything that can be checked before a model runs
        self.check_inputs(
            image,
            audio,
            height,
            width,
            fps,
            num_inference_steps,
            shared_noise,
            style_temperature,
            num_videos_per_style,
            context_length,
            context_overlap,
            sampling_rate,
            generator,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        waveforms = [self.prepare_waveform(each, sampling_rate) for each in audio]
        rate = self.feature_extractor.sampling_rate
        num_frames = [count_frames(len(waveform), rate, fps) for waveform in waveforms]
        if head_keypoints is not None:
            for frames in num_frames:
                self.check_head_keypoints(head_keypoints, frames, height, width)
        self._guidance_scale = scales[0]
        self._interrupt = False

        # 2. Prepare the conditions of each video
        num_videos = len(image) * num_videos_per_style
        generators = generator if isinstance(generator, list) else [generator] * num_videos
        conditions: list[Conditions] = []
        for portrait, waveform, frames in zip(image, waveforms, num_frames, strict=True):
            embeddings = self.encode_audio(waveform)
            audio_tokens = self.project_audio(embeddings, frames).to(self.unet.dtype)
            portrait_latents = self.encode_image(portrait, height, width)
            if self.config.min_portrait_psnr:
                self.check_portrait(portrait, portrait_latents, height, width)
            features = self.reference_unet(portrait_latents)
            for _ in range(num_videos_per_style):
                vector = self.encode_style(
                    style,
                    embeddings,
                    frames,
                    fps,
                    style_temperature,
                    generators[len(conditions)],
                )
                conditions.append(
                    Conditions(audio_tokens, vector, portrait_latents, features, head_keypoints)
                )

        # 3. Prepare timesteps, noise, windows and guidance
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        timesteps = self.scheduler.timesteps
        self._num_timesteps = len(timesteps)
        lengths = [each.num_frames for each in conditions]
        latents = self.prepare_latents(lengths, height, width, generators, latents, shared_noise)
        passes = plan_guidance(*scales)
        attention_scales = {
            "reference_attention_scale": reference_attention_scale,
            "audio_attention_scale": audio_attention_scale,
            "style_attention_scale": style_attention_scale,
        }
        step_arguments = {"generator": generator} if self._step_takes_generator() else {}

        # 4. Denoise: predict every window, blend, and take one step on the whole
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for step, timestep in enumerate(timesteps):
                if self.interrupt:
                    break
                model_input = self.scheduler.scale_model_input(latents, timestep)
                prediction = torch.zeros_like(latents)
                for row, each in enumerate(conditions):
                    prediction[row, :, : each.num_frames] = self.predict_video(
                        model_input[row, :, : each.num_frames],
                        timestep,
                        each,
                        passes,
                        context_length,
                        context_overlap,
                        attention_scales,
                    )
                latents = self.scheduler.step(
                    prediction, timestep, latents, **step_arguments, return_dict=False
                )[0]
                if callback_on_step_end is not None:
                    offered = {"latents": latents}
                    tensors = {name: offered[name] for name in callback_on_step_end_tensor_inputs}
                    returned = callback_on_step_end(self, step, timestep, tensors)
                    latents = returned.pop("latents", latents)
                progress_bar.update()

        # 5. Decode each video at its own length
        assert latents is not None
        frames_of_all = [
            self._to_output(latents[row, :, : each.num_frames], output_type)
            for row, each in enumerate(conditions)
        ]
        styles = [each.style for each in conditions]
        self.maybe_free_model_hooks()
        if not return_dict:
            return frames_of_all, styles
        return SVPTalkingHeadPipelineOutput(frames=frames_of_all, styles=styles)

    def _to_output(self, latents: torch.Tensor, output_type: str) -> Any:
        if output_type == "latent":
            return latents
        parts = [part.float().cpu() for part in self.decode_latents(latents)]
        if output_type == "pt":
            return torch.cat(parts)
        arrays = [self.video_processor.pt_to_numpy(part) for part in parts]
        if output_type == "np":
            return np.concatenate(arrays)
        return [image for array in arrays for image in self.video_processor.numpy_to_pil(array)]

    def _step_takes_generator(self) -> bool:
        return "generator" in inspect.signature(self.scheduler.step).parameters
