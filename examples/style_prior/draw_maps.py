"""Draw the clips of a manifest as an encoder sees them, coloured by style and by speaker.

python examples/style_prior/draw_maps.py ENCODER MANIFEST DATA_ROOT OUTPUT_PREFIX
"""

import argparse
from dataclasses import replace

import torch

from svp_diffusers.checkpoints.loading import load_style_encoder
from svp_diffusers.data.style_clips import center_speakers, read_style_clips
from svp_diffusers.evaluation.style_encoder.representations import encode_clip_windows
from svp_diffusers.speech.features import load_audio_features
from svp_diffusers.style.plot import plot_styles

parser = argparse.ArgumentParser(description=__doc__)
for argument in ("encoder", "manifest", "data_root", "output_prefix"):
    parser.add_argument(argument)
arguments = parser.parse_args()
encoder = load_style_encoder(arguments.encoder)
config = encoder.config
features = load_audio_features(config.audio_features)
clips = read_style_clips(
    arguments.manifest, arguments.data_root, config.expression_space, features, split="test"
)
if config.expression_centring == "speaker":
    clips = center_speakers(clips)
with torch.no_grad():
    styles = [
        encode_clip_windows(encoder, clip, clip.expressions.values[None])[0] for clip in clips
    ]
for what in ("style", "speaker"):
    named = [replace(s, name=getattr(c, what)) for s, c in zip(styles, clips, strict=True)]
    plot_styles(named, f"{arguments.output_prefix}_by_{what}.png")
