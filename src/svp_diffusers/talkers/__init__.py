"""Procedural talkers: drawn portraits with an ARKit rig, driven by synthetic speech.

Everything about them is known: identity, rig, head keypoints, phonemes, style.
"""

from svp_diffusers.talkers.geometry import HeadPose, locate_head_keypoints
from svp_diffusers.talkers.identity import Identity, sample_identity
from svp_diffusers.talkers.portrait import draw_portrait, write_portrait_svg
from svp_diffusers.talkers.speech import Phoneme, Voice, sample_voice, synthesise_speech

__all__ = [
    "HeadPose",
    "Identity",
    "Phoneme",
    "Voice",
    "draw_portrait",
    "locate_head_keypoints",
    "sample_identity",
    "sample_voice",
    "synthesise_speech",
    "write_portrait_svg",
]
