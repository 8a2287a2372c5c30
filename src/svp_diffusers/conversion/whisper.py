"""OpenAI's published Whisper files to the speech encoder of our checkpoints."""

import re
from pathlib import Path

from svp_diffusers.conversion.state_dicts import load_exactly, read_container, rename
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.speech_states_svp import WhisperStates

_DIMENSIONS = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")
# OpenAI's names and those of `transformers.WhisperEncoder`.
_NAMES = (
    (r"\bpositional_embedding$", "embed_positions.weight"),
    (r"\bblocks\.", "layers."),
    (r"\battn\.query\.", "self_attn.q_proj."),
    (r"\battn\.key\.", "self_attn.k_proj."),
    (r"\battn\.value\.", "self_attn.v_proj."),
    (r"\battn\.out\.", "self_attn.out_proj."),
    (r"\battn_ln\.", "self_attn_layer_norm."),
    (r"\bmlp\.0\.", "fc1."),
    (r"\bmlp\.2\.", "fc2."),
    (r"\bmlp_ln\.", "final_layer_norm."),
)


def convert_whisper(path: str | Path) -> WhisperStates:
    """Convert the encoder in one of OpenAI's files; its decoder and last norm are left behind.

    The states are those before that norm, and the decoder writes text.

    Args:
        path: for instance `tiny.pt`; every size is read off its `dims`.

    Raises:
        CheckpointError: if it is missing, damaged, or not such a file.
    """
    weights, rest = read_container(path, "model_state_dict")
    dimensions = rest.get("dims")
    if not isinstance(dimensions, dict) or any(name not in dimensions for name in _DIMENSIONS):
        raise CheckpointError(f"{path} has no `dims` of an audio encoder: it is not OpenAI's file.")
    mels, context, width, heads, layers = (dimensions[name] for name in _DIMENSIONS)
    model = WhisperStates(
        num_mel_bins=mels,
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        max_source_positions=context,
    )
    load_exactly(model, rename(weights, _new_name, str(path)), str(path))
    return model.eval()


def _new_name(key: str) -> str | None:
    if key.startswith(("decoder.", "encoder.ln_post.")):
        return None
    for pattern, replacement in _NAMES:
        key = re.sub(pattern, replacement, key)
    return key
