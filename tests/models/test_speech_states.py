"""Encoders of speech that cut the windows of frames themselves, on recordings of any length."""

import torch

from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.models.speech_states_svp import Wav2Vec2States, WhisperStates


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def build_wav2vec(**options: int) -> Wav2Vec2States:
    sizes = {
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 16, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4},
        "num_conv_pos_embedding_groups": 2,
    }
    encoder = Wav2Vec2States(sizes, **options)
    initialise(encoder, seeded())
    return encoder.eval()


def test_what_wav2vec_cannot_read_at_once_it_reads_piece_by_piece() -> None:
    encoder = build_wav2vec(max_frames=8)
    extracted = torch.randn(1, 20, 8, generator=seeded())
    with torch.no_grad():
        whole = encoder.encode(extracted)
        pieces = [encoder.encode(piece) for piece in extracted.split(8, dim=1)]
    assert whole.shape == (20, 2, 16)
    torch.testing.assert_close(whole, torch.cat(pieces))


def test_what_whisper_cannot_read_at_once_it_reads_piece_by_piece() -> None:
    encoder = WhisperStates(8, 16, 2, 2, max_source_positions=10)
    initialise(encoder, seeded())
    encoder.eval()
    log_mel = torch.randn(1, 8, 50, generator=seeded())  # two a state
    with torch.no_grad():
        whole = encoder.encode(log_mel)
        pieces = [encoder.encode(piece) for piece in log_mel.split(20, dim=2)]
    assert whole.shape == (25, 3, 16)
    torch.testing.assert_close(whole, torch.cat(pieces))


def test_a_frame_sees_the_states_around_its_moment() -> None:
    encoder = WhisperStates(8, 16, 1, 2, max_source_positions=50, states_before=1, states_after=2)
    initialise(encoder, seeded())
    encoder.eval()
    log_mel = torch.randn(1, 8, 80, generator=seeded())  # 0.8 s, 40 states
    with torch.no_grad():
        states, windows = encoder.encode(log_mel), encoder(log_mel, 20, 25.0)
    assert windows.shape == (20, 3, 2, 16)
    torch.testing.assert_close(windows[5], states[9:12])
    torch.testing.assert_close(windows[0], states[[0, 0, 1]])  # the first is repeated


def test_a_frame_sees_the_states_of_as_many_frames_before_as_after_it() -> None:
    encoder = build_wav2vec(frames_around=2, clip_length=4)
    waveform = torch.randn(1, 8000, generator=seeded())  # 0.5 s, 13 frames of 25 a second
    with torch.no_grad():
        states = encoder.encode(encoder.extract(waveform, 13, 25.0))
        windows = encoder(waveform, 13, 25.0)
    assert len(states) == 16  # with silence, to whole clips
    assert windows.shape == (13, 5, 2, 16)
    torch.testing.assert_close(windows[5], states[3:8])
    torch.testing.assert_close(windows[0], states[[0, 0, 0, 1, 2]])  # the first is repeated
    torch.testing.assert_close(windows[12], states[10:15])
