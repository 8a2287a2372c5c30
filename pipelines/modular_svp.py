"""Modular Diffusers blocks of SVP: the steps of a call, any of which can be replaced.

They call the methods that the pipeline's `__call__` calls. A checkpoint on the Hub carries this
file beside its pipeline, which imports it.
"""

import json
from fractions import Fraction
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, __version__
from diffusers.modular_pipelines import (
    ComponentSpec,
    InputParam,
    ModularPipeline,
    ModularPipelineBlocks,
    OutputParam,
    PipelineState,
    SequentialPipelineBlocks,
)

from .call_svp import CallInputs, CallSettings
from .checkpoint_svp import CODE_FILE
from .conditions_svp import Conditions
from .portrait_svp import EncodedPortrait

MODULAR_INDEX = "modular_model_index.json"

State = tuple[ModularPipeline, PipelineState]


class ModularMixin:
    """Describes modular blocks in a pipeline's checkpoint; `CheckpointMixin` must follow it."""

    def describe_modular(self, repo_id: str | None = None) -> dict[str, str]:
        """The files of a checkpoint by which Modular Diffusers finds the blocks."""
        return describe_blocks(repo_id)


def describe_blocks(repo_id: str | None = None) -> dict[str, str]:
    """The files by which Modular Diffusers finds the blocks in a checkpoint, and the pipeline.

    Args:
        repo_id: of the checkpoint; in a folder it is not read.

    Returns:
        The texts by the files' names.
    """
    version = {"_diffusers_version": __version__}
    pipeline = {
        "type_hint": ["diffusers", "DiffusionPipeline"],
        "pretrained_model_name_or_path": repo_id,
        "subfolder": "",
        "variant": None,
        "revision": None,
    }
    blocks = SVPTalkingHeadBlocks.__name__
    files: dict[str, dict[str, Any]] = {
        "modular_config.json": {
            "_class_name": blocks,
            "auto_map": {"ModularPipelineBlocks": f"{CODE_FILE}.{blocks}"},
            **version,
        },
        MODULAR_INDEX: {
            "_blocks_class_name": blocks,
            "_class_name": "ModularPipeline",
            "pipeline": [None, None, pipeline],
            **version,
        },
    }
    return {name: json.dumps(each, indent=2) + "\n" for name, each in files.items()}


def _given(names: str) -> list[InputParam]:
    """Inputs of a call, by their names."""
    return [InputParam(name, *CALL[name]) for name in names.split()]


# Types and defaults of `__call__`, whose docstring says what they are.
CALL: dict[str, tuple[Any, Any]] = {
    "style": (Any, None),
    "head_keypoints": (Any, None),
    "portrait_keypoints": (Any, None),
    "find_face": (bool, True),
    "face_embedding": (torch.Tensor, None),
    "head_motion": (Any, None),
    "head_motion_scale": (float, 1.0),
    "height": (int, None),
    "width": (int, None),
    "fps": (float | Fraction, None),
    "num_inference_steps": (int, None),
    "guidance_scale": (float, None),
    "audio_guidance_scale": (float, None),
    "style_guidance_scale": (float, None),
    "reference_attention_scale": (float, 1.0),
    "audio_attention_scale": (float, 1.0),
    "style_attention_scale": (float, 1.0),
    "style_temperature": (float, 1.0),
    "num_videos_per_style": (int, 1),
    "context_length": (int, None),
    "context_overlap": (int, None),
    "shared_noise": (float, None),
    "detail_scale": (int, None),
    "generator": (torch.Generator, None),
    "latents": (torch.Tensor, None),
    "sampling_rate": (int, 16000),
    "output_type": (str, "pil"),
    "cross_attention_kwargs": (dict, None),
}

INPUTS = OutputParam("inputs", CallInputs, "portraits and speech, read and checked")
SETTINGS = OutputParam("settings", CallSettings, "of the call, all of them known")
PORTRAITS = OutputParam("portraits", list[EncodedPortrait], "one a portrait")
CONDITIONS = OutputParam("conditions", list[Conditions], "what each video is made of")
STYLES = OutputParam("styles", list[torch.Tensor], "that the videos were made with")
LATENTS = OutputParam("latents", torch.Tensor, "(videos, channels, frames, height, width)")
FRAMES = OutputParam("frames", list[Any], "of each video, by `output_type`")


def _made(*outputs: OutputParam) -> list[InputParam]:
    """What a block before has made, as an input that is needed."""
    return [InputParam(each.name, each.type_hint, required=True) for each in outputs]


class SVPBlock(ModularPipelineBlocks):
    """A step of the pipeline, which is the component `pipeline`."""

    model_name = "svp"
    description: ClassVar[str]
    inputs: ClassVar[list[InputParam]]
    intermediate_outputs: ClassVar[list[OutputParam]]

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """The pipeline, whose components the steps run."""
        return [ComponentSpec("pipeline", DiffusionPipeline)]

    def __call__(self, components: ModularPipeline, state: PipelineState) -> State:
        """Run the step on the values of the state, and put what it makes there."""
        if components.pipeline is None:
            raise ValueError(
                "The pipeline is not loaded: call `load_components`, with `trust_remote_code=True`."
            )
        values = self.get_block_state(state)
        for name, value in self.run(components.pipeline, values).items():
            values[name] = value
        self.set_block_state(state, values)
        return components, state

    def run(self, pipeline: Any, values: Any) -> dict[str, Any]:
        """The outputs of the step.

        Args:
            pipeline: `SVPTalkingHeadPipeline`.
            values: the inputs, as attributes.
        """
        raise NotImplementedError


class ReadInputs(SVPBlock):
    """Reads and checks what a call is given."""

    description = "Reads portraits and speech, and checks all that can be before a model runs."
    inputs: ClassVar = [
        InputParam("image", required=True),
        InputParam("audio", required=True),
        *_given(
            "head_keypoints portrait_keypoints find_face face_embedding head_motion "
            "head_motion_scale height width fps num_inference_steps guidance_scale "
            "audio_guidance_scale style_guidance_scale reference_attention_scale "
            "audio_attention_scale style_attention_scale style_temperature num_videos_per_style "
            "context_length context_overlap shared_noise detail_scale generator sampling_rate "
            "output_type cross_attention_kwargs"
        ),
    ]
    intermediate_outputs: ClassVar = [INPUTS, SETTINGS]

    def run(self, pipeline: Any, values: Any) -> dict[str, Any]:
        """See `SVPBlock`."""
        settings = pipeline.fill_settings(
            *(values.height, values.width, values.fps, values.num_inference_steps),
            (values.guidance_scale, values.audio_guidance_scale, values.style_guidance_scale),
            (
                values.reference_attention_scale,
                values.audio_attention_scale,
                values.style_attention_scale,
            ),
            *(values.shared_noise, values.context_length, values.context_overlap),
            values.detail_scale,
            values.cross_attention_kwargs,
        )
        inputs = pipeline.read_inputs(
            values.image,
            values.audio,
            settings,
            head_keypoints=values.head_keypoints,
            portrait_keypoints=values.portrait_keypoints,
            find_face=values.find_face,
            face_embedding=values.face_embedding,
            head_motion=values.head_motion,
            head_motion_scale=values.head_motion_scale,
            style_temperature=values.style_temperature,
            num_videos_per_style=values.num_videos_per_style,
            generator=values.generator,
            sampling_rate=values.sampling_rate,
            output_type=values.output_type,
        )
        return {"inputs": inputs, "settings": settings}


class EncodePortraits(SVPBlock):
    """Encodes portraits and their heads."""

    description = "Finds the head of each portrait, and encodes the portrait."
    inputs: ClassVar = [*_made(INPUTS, SETTINGS), *_given("head_keypoints find_face")]
    intermediate_outputs: ClassVar = [PORTRAITS]

    def run(self, pipeline: Any, values: Any) -> dict[str, Any]:
        """See `SVPBlock`."""
        portraits = pipeline.encode_portraits(
            values.inputs.portraits,
            values.head_keypoints,
            values.inputs.portrait_keypoints,
            values.find_face,
            values.settings,
        )
        return {"portraits": portraits}


class EncodeSpeech(SVPBlock):
    """Encodes speech, draws styles, and moves heads."""

    description = "Encodes speech, draws a style for each video, and moves its head."
    inputs: ClassVar = [
        *_made(INPUTS, SETTINGS, PORTRAITS),
        *_given(
            "style style_temperature num_videos_per_style head_motion head_motion_scale "
            "face_embedding"
        ),
    ]
    intermediate_outputs: ClassVar = [CONDITIONS, STYLES]

    def run(self, pipeline: Any, values: Any) -> dict[str, Any]:
        """See `SVPBlock`."""
        conditions = pipeline.encode_videos(
            *(values.portraits, values.inputs, values.settings),
            *(values.style, values.style_temperature, values.num_videos_per_style),
            *(values.head_motion, values.head_motion_scale, values.face_embedding),
        )
        return {"conditions": conditions, "styles": [each.style for each in conditions]}


class Denoise(SVPBlock):
    """Makes the latents of the videos."""

    description = "Draws noise, and denoises each video."
    inputs: ClassVar = [*_made(CONDITIONS, SETTINGS, INPUTS), *_given("latents")]
    intermediate_outputs: ClassVar = [LATENTS]

    def run(self, pipeline: Any, values: Any) -> dict[str, Any]:
        """See `SVPBlock`."""
        latents = pipeline.denoise(
            values.conditions, values.settings, values.inputs.generators, values.latents
        )
        return {"latents": latents}


class Decode(SVPBlock):
    """Decodes the videos."""

    description = "Decodes each video at its own length."
    inputs: ClassVar = [*_made(LATENTS, CONDITIONS, INPUTS), *_given("output_type")]
    intermediate_outputs: ClassVar = [FRAMES]

    def run(self, pipeline: Any, values: Any) -> dict[str, Any]:
        """See `SVPBlock`."""
        details = [each.detail for each in values.conditions]
        frames = pipeline.decode(
            values.latents, values.inputs.num_frames, values.output_type, details
        )
        pipeline.maybe_free_model_hooks()
        return {"frames": frames}


class SVPTalkingHeadBlocks(SequentialPipelineBlocks):
    """The pipeline as blocks: `frames` and `styles` are those of `__call__`, bit for bit."""

    model_name = "svp"
    block_names: ClassVar = ["read", "encode_portraits", "encode_speech", "denoise", "decode"]
    block_classes: ClassVar = [ReadInputs, EncodePortraits, EncodeSpeech, Denoise, Decode]
    description = "A portrait, speech and a speaking style to a talking-head video."
