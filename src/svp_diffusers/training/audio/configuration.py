"""The options of training the audio front-end."""

from dataclasses import dataclass

from svp_diffusers.training.loop.configuration import LoopConfiguration, require


@dataclass(frozen=True, kw_only=True)
class AudioTrainingConfiguration(LoopConfiguration):
    """Options of `svp train audio`; every default is our choice.

    Data:
        data: dataset of procedural talkers (see `ClipDataset`), whose phonemes are known.

    Encoder, a `Wav2Vec2Model`:
        num_bands: bands of the filter bank at its start; there are four phases of each.
        conv_channels: of the convolutions after the filter bank.
        hidden_size: of an embedding.
        num_hidden_layers, num_attention_heads, intermediate_size: of the transformer.
        num_conv_pos_embeddings: reach of the convolution that encodes positions, in embeddings; 32
            are 0.64 s, about a word.

    Batches:
        batch_size: windows of a global batch.
        window: seconds of a window.
        speed: largest change of speed, and with it of pitch and timbre: voices not heard.
        colour: standard deviation in dB of each of three smooth changes of the spectrum: other
            voices and microphones.
        gain: largest change of loudness in dB, since a recording's pauses change its level.
        noise: largest standard deviation of white noise, the speech's being 1; drawn evenly in dB
            over the 40 dB below, so that the pauses of a recording need not be digital silence.

    Objective:
        sound_weight: of loudness and spectrum, which keep the voice's expression in the embeddings,
            against the lips, which are what moves the mouth.
    """

    data: str
    num_bands: int = 40
    conv_channels: int = 128
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int = 256
    num_conv_pos_embeddings: int = 32
    batch_size: int = 16
    window: float = 1.6
    speed: float = 0.08
    colour: float = 2.0
    gain: float = 6.0
    noise: float = 0.03
    sound_weight: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.hidden_size % self.num_attention_heads == 0,
            "hidden_size must be a multiple of num_attention_heads",
        )
        require(self.hidden_size % 4 == 0, "hidden_size must be a multiple of 4")
        for name in (
            *("num_bands", "conv_channels", "hidden_size", "num_hidden_layers"),
            *("num_attention_heads", "intermediate_size", "num_conv_pos_embeddings", "batch_size"),
        ):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more")
        require(self.window >= 0.2, "window must be 0.2 seconds or more")
        require(0 <= self.speed < 1, "speed must be in [0, 1)")
        for name in ("colour", "gain", "noise", "sound_weight"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more")
