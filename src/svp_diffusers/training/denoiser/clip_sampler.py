"""Sampling a clip held out while the denoiser is trained, by the pipeline as its users call it."""

import copy

import numpy as np
import torch
from numpy.random import default_rng

from svp_diffusers.data.clips import SAMPLING_RATE
from svp_diffusers.generation.generate import decode_side_by_side
from svp_diffusers.generation.streaming import Performed
from svp_diffusers.media.audio import Recording
from svp_diffusers.media.keypoints import retarget
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.batches import DenoisingBatches
from svp_diffusers.training.denoiser.head_pictures import draw_clip
from svp_diffusers.training.loop.validation_video import ValidationVideo

SAMPLED_FRAMES = 24
"""At most; denoised as one window, so that none is predicted twice. (Our choice.)"""


class ClipSampler:
    """Makes the first clip of the validation split again, with the weights of the moment.

    The reference is decoded from its latents, the style is the mean of the clip's own, the head
    moves from the reference's pose on as it did, the noise is the same every time, and all else is
    the checkpoint's default.

    Args:
        pipeline: that is trained.
        held_out: clips of the validation split.
    """

    def __init__(self, pipeline: SVPTalkingHeadPipeline, held_out: DenoisingBatches) -> None:
        self.pipeline = copy.copy(pipeline)  # of the same networks
        # Sampling sets the timesteps of a scheduler; training adds noise by those of its own.
        self.pipeline.scheduler = copy.deepcopy(pipeline.scheduler)
        self.pipeline.set_progress_bar_config(disable=True)
        self.seed = held_out.configuration.seed
        stored = held_out.dataset[0]
        longest = pipeline.unet.config.motion_max_seq_length
        self.clip = stored.decode(0, min(SAMPLED_FRAMES, stored.number_of_frames, longest))
        reference = held_out.draw_reference(0, default_rng(self.seed))
        self.reference_latents, keypoints = reference[0], reference[1].numpy()
        assert self.clip.head_keypoints is not None
        # The first picture of a head is the reference's own.
        self.head_keypoints = retarget(self.clip.head_keypoints, keypoints)
        self.style, _ = held_out.read_style(0)

    def sample(self, device: torch.device) -> ValidationVideo:
        """Sample the clip; the networks that are not trained are on the device meanwhile only.

        Args:
            device: of the networks that are trained.
        """
        pipeline, clip = self.pipeline, self.clip
        assert clip.latents is not None
        latents = torch.from_numpy(clip.latents).float().transpose(0, 1)  # (c, f, h, w)
        height, width = (pipeline.vae_scale_factor * side for side in latents.shape[-2:])
        layout = pipeline.head_guider.config.keypoint_layout
        frozen = (pipeline.vae, pipeline.audio_encoder, pipeline.style_encoder)
        for module in frozen:
            module.to(device)
        portrait = next(pipeline.decode_latents(self.reference_latents[:, None]))[0]
        # In transformers 5.0 speech encoders draw from the global state, though they drop no layer.
        with torch.random.fork_rng(devices=[]):
            (sampled,), _ = pipeline(
                portrait,
                clip.waveform,
                self.style,
                head_keypoints=draw_clip(layout, self.head_keypoints, height, width),
                height=height,
                width=width,
                fps=clip.fps,
                context_length=len(clip.latents),
                detail_scale=0,
                generator=torch.Generator().manual_seed(self.seed),
                output_type="latent",
                return_dict=False,
            )
        frames = np.stack(
            list(decode_side_by_side(pipeline, [[Performed(latents)], [Performed(sampled)]]))
        )
        for module in frozen:
            module.to("cpu")
        recording = Recording(clip.waveform[None], SAMPLING_RATE, f"clip {clip.key!r}")
        return ValidationVideo(frames, clip.fps, recording)
