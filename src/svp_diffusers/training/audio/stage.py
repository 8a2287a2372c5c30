"""Training the audio front-end: a small speech encoder for svp-tiny (every number is our choice).

A full-size model has a wav2vec 2.0 trained on thousands of hours. This one is trained on an hour of
procedural talkers, whose lips are known, and learns to tell them. Afterwards it is frozen.
"""

from pathlib import Path

from svp_diffusers.media.output import atomic_folder
from svp_diffusers.training.audio.batches import SpeechBatchSampler, read_speech_clips
from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration
from svp_diffusers.training.audio.encoder import build_audio_encoder, build_feature_extractor
from svp_diffusers.training.audio.objective import AudioObjective
from svp_diffusers.training.loop.loop import make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder


def train_audio(configuration: AudioTrainingConfiguration, resume: bool = False) -> Path:
    """Train an audio front-end, in one process or in many.

    Args:
        configuration: all options.
        resume: continue from the newest checkpoint of `output_dir`, as if never interrupted.

    Returns:
        `output_dir`, in which `audio_encoder` and `feature_extractor` are those of a pipeline.

    Raises:
        SVPError: see `RunFolder`, `read_speech_clips` and `SpeechBatchSampler`; raised before any
            training.
    """
    run = RunFolder(configuration.output_dir, configuration, resume)
    clips = read_speech_clips(configuration.data, "train")
    held_out = read_speech_clips(configuration.data, "validation")
    sampler = SpeechBatchSampler(clips, configuration)
    accelerator = make_accelerator(configuration)
    run.start(accelerator)

    encoder = build_audio_encoder(configuration)
    objective = AudioObjective(encoder, clips, held_out, configuration.sound_weight)
    accelerator.print(f"{len(clips)} clips, {encoder.num_parameters():,} weights", flush=True)
    train(objective, sampler.batch, configuration, run, accelerator)
    if accelerator.is_main_process:
        for name, part in (
            ("audio_encoder", encoder),
            ("feature_extractor", build_feature_extractor()),
        ):
            with atomic_folder(run.path / name) as temporary:
                part.save_pretrained(temporary)
    return run.path
