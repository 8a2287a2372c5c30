"""The probabilistic style prior of SVP (arXiv 2409.03270, section 3.1) in one self-contained file.

Expression coefficients and audio embeddings of a clip go through a transformer each, meet in a
cross-attention, are pooled over time and become a Gaussian over *style vectors*:

    expression -> transformer -> s_beta  \
                                          cross-attention -> attentive pooling -> mean, std
    audio      -> transformer -> s_alpha /

The paper's figure gives this structure and no number: sizes, which side is the query (expression),
pooling a standard deviation beside the mean, and how a missing modality is handled are our choices.
"""

import difflib
import hashlib
import math
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from diffusers.utils.torch_utils import randn_tensor
from huggingface_hub import HfApi, hf_hub_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

STYLE_FILE_FORMAT = "svp-style"
MOST_SCALE = 100  # of temperature and intensity, as of a call of the pipeline
MOST_WEIGHT = 1e30  # of styles that are mixed
FEW_NAMES = 5  # that an error message lists
MAXIMUM_NAME = 200  # characters of a style's name, as a configuration may have
RESERVED_NAMES = ("prior", "from_audio")  # of styles that are in no bank
RESERVED_CHARACTERS = ",:/\\"  # of schedules and of files
STYLE_FILE = "style.safetensors"  # its name in a repository on the Hub
STYLE_CARD = """---
library_name: diffusers
tags: [talking-head, svp, svp-style]
---
# {repo_id}

A speaking style for SVP (arXiv 2409.03270), for checkpoints with the style encoder {encoder_id}.

```python
# of a pipeline that was loaded with that style encoder
style = type(pipe.style_encoder.prior()).from_pretrained("{repo_id}")
```

Limits: a style describes how somebody speaks; it may reveal who. Share one only with the
consent of the person whose clip it was taken from.
"""


@dataclass(frozen=True, eq=False)
class StyleDistribution:
    """A diagonal Gaussian over style vectors: one speaking style, or a batch of them.

    Attributes:
        mean: `(..., style_dim)`.
        std: `(..., style_dim)`, positive (zero is allowed: a single style vector).
        name: what the style is called, e.g. "happy".
        source: where it was taken from, e.g. the name of the clip.
        encoder_id: `encoder_id` of the encoder whose space this lives in; `None` makes no claim.
            Styles of two encoders have nothing to do with each other.

    Raises:
        ValueError: mean or std is no tensor of floats, or their shapes differ.
    """

    mean: Tensor
    std: Tensor
    name: str | None = None
    source: str | None = None
    encoder_id: str | None = None

    def __post_init__(self) -> None:
        for part in (self.mean, self.std):
            if not isinstance(part, Tensor) or not part.is_floating_point():
                raise ValueError(
                    "`mean` and `std` must be tensors of floats, got "
                    f"{type(self.mean).__name__} and {type(self.std).__name__}."
                )
        if self.mean.shape != self.std.shape or self.mean.ndim == 0:
            raise ValueError(
                "`mean` and `std` must have one shape (..., style_dim), "
                f"got {tuple(self.mean.shape)} and {tuple(self.std.shape)}."
            )

    def __len__(self) -> int:
        """Batch size; a single style has none and raises `TypeError`."""
        if self.mean.ndim == 1:
            raise TypeError("a single style has no length; only a batch of styles has.")
        return self.mean.shape[0]

    def __getitem__(self, index: int | slice) -> "StyleDistribution":
        if self.mean.ndim == 1:
            raise TypeError("a single style cannot be indexed; only a batch of styles can.")
        return replace(self, mean=self.mean[index], std=self.std[index])

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "StyleDistribution":
        """The same style on another device or in another dtype."""
        return replace(self, mean=self.mean.to(device, dtype), std=self.std.to(device, dtype))

    def sample(
        self,
        n: int = 1,
        temperature: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
    ) -> Tensor:
        """Draw `n` style vectors `(n, ..., style_dim)`: `mean + temperature * std * noise`.

        A temperature of 0 gives the mean. A list of `n` generators draws each vector from its own.

        Raises:
            ValueError: `n` is not a whole number from 1 to a million, `temperature` none from 0 to
                100, or `generator` neither a generator nor `n` of them.
        """
        check_number("n", n, 1, 1_000_000)
        check_number("temperature", temperature, 0, MOST_SCALE)
        if n != int(n):
            raise ValueError(f"`n` must be a whole number, got {n}.")
        generators = generator if isinstance(generator, list) else [generator]
        known = all(each is None or isinstance(each, torch.Generator) for each in generators)
        if not known or (isinstance(generator, list) and len(generator) != n):
            raise ValueError(f"`generator` must be a torch.Generator, or a list of {n} of them.")
        noise = randn_tensor(
            (int(n), *self.mean.shape), generator, device=self.mean.device, dtype=self.mean.dtype
        )
        return self.mean + temperature * self.std * noise

    def interpolate(self, other: "StyleDistribution", weight: float) -> "StyleDistribution":
        """The Wasserstein-2 geodesic, linear in mean and std, from self (0) to `other` (1)."""
        check_number("weight", weight, 0, 1, "; use `scale` to go beyond a style")
        self._check_same_space(other)
        return StyleDistribution(
            torch.lerp(self.mean, other.mean, weight),
            torch.lerp(self.std, other.std, weight),
            encoder_id=self.encoder_id,
        )

    @staticmethod
    def mix(styles: Sequence["StyleDistribution"], weights: Sequence[float]) -> "StyleDistribution":
        """The Wasserstein-2 barycentre of `styles`: weighted mean of the means and of the stds.

        `weights` are relative (one per style, none negative, not all zero).
        """
        if not isinstance(styles, Sequence) or not isinstance(weights, Sequence):
            raise ValueError("`styles` and `weights` must be lists.")
        if len(styles) != len(weights) or not styles:
            raise ValueError(f"one weight per style: got {len(styles)} and {len(weights)}.")
        for weight in weights:
            check_number("weights", weight, 0, MOST_WEIGHT)
        if sum(weights) <= 0:
            raise ValueError(f"`weights` must not all be 0, got {list(weights)}.")
        for style in styles:
            check_style_type(style)
            styles[0]._check_same_space(style)
        shares = [weight / sum(weights) for weight in weights]
        pairs = list(zip(shares, styles, strict=True))
        return StyleDistribution(
            torch.stack([share * style.mean for share, style in pairs]).sum(0),
            torch.stack([share * style.std for share, style in pairs]).sum(0),
            encoder_id=styles[0].encoder_id,
        )

    def scale(self, intensity: float, neutral: "StyleDistribution") -> "StyleDistribution":
        """Move the mean along the line from `neutral` (0) through self (1) and beyond (> 1).

        The standard deviation stays: intensity says how far the style is, not how varied.
        """
        check_number("intensity", intensity, -MOST_SCALE, MOST_SCALE)
        self._check_same_space(neutral)
        return replace(self, mean=neutral.mean + intensity * (self.mean - neutral.mean))

    def log_prob(self, style: Tensor) -> Tensor:
        """Log density of style vectors `(..., style_dim)`, summed over `style_dim`."""
        if not isinstance(style, Tensor) or style.shape[-1:] != self.mean.shape[-1:]:
            raise ValueError(f"`style` must be a tensor (..., {self.mean.shape[-1]}).")
        return self._as_torch().log_prob(style)

    def kl(self, other: "StyleDistribution") -> Tensor:
        """Kullback-Leibler divergence KL(self || other), in nats, over the batch shape."""
        self._check_same_space(other)
        return kl_divergence(self._as_torch(), other._as_torch())

    def wasserstein(self, other: "StyleDistribution") -> Tensor:
        """Wasserstein-2 distance to `other`, over the batch shape."""
        self._check_same_space(other)
        squared = (self.mean - other.mean).square() + (self.std - other.std).square()
        return squared.sum(-1).sqrt()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.safetensors` file (mean, std, and the strings as metadata), atomically.

        Raises:
            ValueError: it cannot be written there.
        """
        texts = {"name": self.name, "source": self.source, "encoder_id": self.encoder_id}
        metadata = {key: text for key, text in texts.items() if text is not None}
        metadata |= {"format": STYLE_FILE_FORMAT, "sha256": hash_style(self.mean, self.std)}
        tensors = {"mean": self.mean.contiguous().cpu(), "std": self.std.contiguous().cpu()}
        path = Path(path)
        temporary = path.with_name(f".partial-{secrets.token_hex(6)}-{path.name}")
        try:
            save_file(tensors, temporary, metadata=metadata)
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} cannot be written: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "StyleDistribution":
        """Read what `save` wrote.

        Raises:
            ValueError: the file is missing, damaged or no style.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != STYLE_FILE_FORMAT:
                    raise ValueError(
                        f"{path} holds no style: its metadata lacks format={STYLE_FILE_FORMAT!r}."
                    )
                mean, std = file.get_tensor("mean"), file.get_tensor("std")
        except SafetensorError as error:
            raise ValueError(f"{path} is not a style file, or damaged: {error}") from error
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if metadata.get("sha256") != hash_style(mean, std):
            raise ValueError(f"{path} is damaged: its numbers do not have the hash it was given.")
        if not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise ValueError(f"{path} holds a style with values that are not finite or std < 0.")
        return cls(mean, std, *(metadata.get(key) for key in ("name", "source", "encoder_id")))

    @classmethod
    def from_pretrained(
        cls,
        pretrained_style_name_or_path: str | os.PathLike[str],
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> "StyleDistribution":
        """Load the style of a repository on the Hub, or of a folder.

        Raises:
            ValueError: if there is none, or what is there is damaged or no style.
        """
        name = str(pretrained_style_name_or_path)
        try:
            folder = Path(name) if Path(name).is_dir() else None
        except OSError:  # the name is too long
            folder = None
        if folder is not None:
            return cls.load(folder / STYLE_FILE)
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", name, re.ASCII):
            raise ValueError(
                f"there is no folder {name[:200]!r}; give the folder of a style, or the id of a "
                "repository on the Hub (OWNER/NAME)."
            )
        path = hf_hub_download(
            name,
            STYLE_FILE,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        return cls.load(path)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str = "Upload style",
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Push the style in one commit, with a card if the repository has none.

        Returns:
            The address of the commit.
        """
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / STYLE_FILE)
            if not api.file_exists(repo_id, "README.md"):
                card = STYLE_CARD.format(repo_id=repo_id, encoder_id=self.encoder_id)
                (Path(folder) / "README.md").write_text(card, encoding="utf-8")
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                create_pr=create_pr,
            )
        return str(commit.commit_url)

    def _as_torch(self) -> Any:
        return Independent(Normal(self.mean, self.std), 1)

    def _check_same_space(self, other: "StyleDistribution") -> None:
        check_style_type(other)
        if self.mean.shape[-1] != other.mean.shape[-1] or self.encoder_id != other.encoder_id:
            raise ValueError(
                "the styles live in different spaces: "
                f"{self.mean.shape[-1]} dimensions of encoder {self.encoder_id} and "
                f"{other.mean.shape[-1]} of encoder {other.encoder_id}. "
                "Encode both with the same style encoder."
            )


def check_style_type(style: object) -> None:
    """Raise `ValueError` for what is no style.

    One of a checkpoint's own code is of another class than the package's, so its parts are asked.
    """
    if not all(isinstance(getattr(style, name, None), Tensor) for name in ("mean", "std")):
        raise ValueError(f"a StyleDistribution is needed, got {type(style).__name__}.")


def check_number(name: str, value: object, least: float, most: float, advice: str = "") -> None:
    """Raise `ValueError` for what is no number of a range."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(
            f"`{name}` must be a number from {least:g} to {most:g}, got {value!r}{advice}."
        )


class UnknownStyleError(ValueError, KeyError):
    """A name that the style bank does not hold."""

    __str__ = Exception.__str__  # a KeyError would show its message quoted


class StyleBank(Mapping[str, StyleDistribution]):
    """The named styles that travel inside a `StyleEncoder`'s weights; iterating lists the names."""

    def __init__(self, encoder: "StyleEncoder") -> None:
        self._encoder = encoder

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoder.config.style_names)

    def __len__(self) -> int:
        return len(self._encoder.config.style_names)

    def __getitem__(self, name: str) -> StyleDistribution:
        return self._encoder.get_style(name)

    def add(self, name: str, style: StyleDistribution) -> None:
        """See `StyleEncoder.add_style`."""
        self._encoder.add_style(name, style)

    def remove(self, name: str) -> None:
        """See `StyleEncoder.remove_style`."""
        self._encoder.remove_style(name)

    def nearest(self, style: StyleDistribution) -> tuple[str, float]:
        """Name of, and Wasserstein-2 distance to, the named style closest to a single `style`."""
        if not self:
            raise ValueError("the style bank is empty: add styles to it first.")
        distances = {name: float(known.wasserstein(style)) for name, known in self.items()}
        return min(distances.items(), key=lambda item: item[1])


class AttentiveStatisticsPooling(nn.Module):
    """Weighted mean and standard deviation over the valid frames, the weights learned (W_s).

    The paper pools with attention; pooling the standard deviation too (as speaker recognition does,
    Okabe et al. 2018) is our choice: dynamics are the larger part of a style.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1))

    def forward(self, hidden_states: Tensor, mask: Tensor) -> Tensor:
        """`(batch, time, dim)` and mask `(batch, time)`, True is valid -> `(batch, 2 * dim)`."""
        weights = (
            self.score(hidden_states) + additive_mask(mask, hidden_states)[..., None]
        ).softmax(1)
        mean = (weights * hidden_states).sum(1)
        variance = (weights * (hidden_states - mean[:, None]).square()).sum(1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1)


class OffloadableAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention`, batch first, that calls its output projection.

    PyTorch's reads the projection's weights instead; offloading loads those of a module only when
    it is called. The arithmetic is the same, bit for bit.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads, batch_first=True)

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> "OffloadableAttention":
        """Take over the weights of another."""
        with torch.device("meta"):
            taken = cls(attention.embed_dim, attention.num_heads)
        taken.load_state_dict(attention.state_dict(keep_vars=True), assign=True)
        return taken

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Attend, for a float `key_padding_mask` `(batch, keys)`; other options are unused."""
        assert key is value
        query_weight, other_weight = self.in_proj_weight.split([self.embed_dim, 2 * self.embed_dim])
        query_bias, other_bias = self.in_proj_bias.split([self.embed_dim, 2 * self.embed_dim])
        heads = (self.num_heads, self.head_dim)
        queries = F.linear(query, query_weight, query_bias).unflatten(-1, heads)
        keys, values = F.linear(key, other_weight, other_bias).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(
            queries.transpose(1, 2),  # (batch, heads, time, head_dim)
            keys.unflatten(-1, heads).transpose(1, 2),
            values.unflatten(-1, heads).transpose(1, 2),
            None if key_padding_mask is None else key_padding_mask[:, None, None],
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None


class StyleEncoder(ModelMixin, ConfigMixin):
    """Expression coefficients and/or audio embeddings of a clip -> `StyleDistribution`.

    Args:
        expression_dim: coefficients per frame, at 25 frames per second (64 for `bfm64`, 52 for
            `arkit52`).
        expression_space: name of the space the coefficients must come from.
        expression_centring: "none" takes coefficients as they are; "speaker" expects them minus the
            mean of the speaker's recordings, since raw coefficients leak the shape of the face.
        audio_dim: size of the audio embeddings, at 50 per second.
        audio_features: what the embeddings are ("wav2vec2", "log-mel-80").
        style_dim: size of a style vector.
        hidden_dim: width of both transformers.
        num_layers: of each of them.
        num_attention_heads: of each of their layers.
        max_frames: longest window, in expression frames; longer clips are cut into equal windows.
        min_frames: fewest valid frames (an embedding is half a frame) to tell a style from.
        encoder_id: identifies the trained weights; every style of this encoder carries it.
        style_names: names of the style bank, in the order of its rows.

    Every number is our choice (the paper gives none); 3 layers of 256 with 10-second windows is
    what published style encoders of the same input use. There is no dropout: noise on the
    coefficients, missing modalities and sampled styles regularise, all drawn from the training's
    own generator, so that a training run is reproducible whatever the number of processes.
    """

    config: Any
    bank: Tensor

    # PyTorch's layers read the weights of the layers within them.
    _skip_layerwise_casting_patterns: ClassVar = ["transformer"]

    @register_to_config
    def __init__(
        self,
        expression_dim: int = 64,
        expression_space: str = "bfm64",
        expression_centring: str = "none",
        audio_dim: int = 768,
        audio_features: str = "wav2vec2",
        style_dim: int = 128,
        hidden_dim: int = 256,
        num_layers: int = 3,
        num_attention_heads: int = 8,
        max_frames: int = 256,
        min_frames: int = 5,
        encoder_id: str | None = None,
        style_names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.expression_proj = nn.Linear(expression_dim, hidden_dim)
        self.audio_proj = nn.Linear(audio_dim, hidden_dim)
        self.expression_transformer, self.audio_transformer = (
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    hidden_dim,
                    num_attention_heads,
                    4 * hidden_dim,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                ),
                num_layers,
                norm=nn.LayerNorm(hidden_dim),
                enable_nested_tensor=False,
            )
            for _ in range(2)
        )
        # What the cross-attention sees when the audio is missing.
        self.no_audio = nn.Parameter(torch.randn(1, 1, hidden_dim) * 0.02)
        self.cross_attention = OffloadableAttention(hidden_dim, num_attention_heads)
        for transformer in (self.expression_transformer, self.audio_transformer):
            for layer in transformer.layers:
                layer.self_attn = OffloadableAttention.of(layer.self_attn)
        self.norm = nn.LayerNorm(hidden_dim)
        self.pooling = AttentiveStatisticsPooling(hidden_dim)
        self.to_mean = nn.Linear(2 * hidden_dim, style_dim)
        self.to_log_std = nn.Linear(2 * hidden_dim, style_dim)
        # Input statistics of the training set, so that coefficients of any scale can be handed in.
        self.register_buffer("expression_mean", torch.zeros(expression_dim))
        self.register_buffer("expression_std", torch.ones(expression_dim))
        self.register_buffer("audio_mean", torch.zeros(audio_dim))
        self.register_buffer("audio_std", torch.ones(audio_dim))
        # Means and standard deviations; one tensor, since savers take two empty ones for shared.
        self.register_buffer("bank", torch.ones(len(style_names), 2, style_dim))

    @classmethod
    def tiny(cls, **config: object) -> "StyleEncoder":
        """A small encoder with random weights, for tests; `config` overrides its sizes."""
        sizes = {"style_dim": 16, "hidden_dim": 32, "num_layers": 1, "num_attention_heads": 2}
        return cls(**{**sizes, "audio_dim": 32, "max_frames": 64, **config})

    def forward(
        self,
        expression: Tensor | None = None,
        audio: Tensor | None = None,
        expression_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
    ) -> StyleDistribution:
        """Encode a batch of clips of any length.

        Args:
            expression: `(batch, frames, expression_dim)` at 25 frames per second.
            audio: `(batch, embeddings, audio_dim)` at 50 embeddings per second.
            expression_mask: `(batch, frames)`, True where a frame is valid; all True by default. A
                row without a valid frame has no expression: its style comes from the voice alone.
            audio_mask: `(batch, embeddings)`, likewise.

        Clips longer than `max_frames` are cut into equal windows. Their Gaussians are combined by
        precision: the logarithmic opinion pool, each window weighted by its valid frames. A clip of
        many windows is thus as wide as its typical window, and not ever narrower with its length as
        the plain product of Gaussians would be. The pool and the weights are our choice.

        Returns:
            `StyleDistribution` with `mean`, `std` `(batch, style_dim)`.

        Raises:
            ValueError: no modality, wrong types or sizes, or fewer than `min_frames` valid frames
                in a row (under `torch.compile`: in all rows).
        """
        given = audio if expression is None else expression
        if given is None:
            raise ValueError("give `expression`, `audio` or both.")
        for name, values in (("expression", expression), ("audio", audio)):
            if values is not None and (not isinstance(values, Tensor) or len(values) != len(given)):
                raise ValueError(f"`{name}` must be a tensor, of as many clips as the other.")
        if expression is None:
            expression = given.new_zeros(len(given), 0, self.config.expression_dim)
        if audio is None:
            audio = given.new_zeros(len(given), 0, self.config.audio_dim)
        expression_mask = check_input(
            "expression", expression, expression_mask, self.expression_mean
        )
        audio_mask = check_input("audio", audio, audio_mask, self.audio_mean)

        frames = max(expression.shape[1], math.ceil(audio.shape[1] / 2))
        too_few = (
            f"too few valid frames to tell a style from: {frames} given, at least "
            f"{self.config.min_frames} valid ones in a row of the batch are needed."
        )
        if frames < self.config.min_frames:
            raise ValueError(too_few)
        num_windows = max(1, math.ceil(frames / self.config.max_frames))
        edges = [round(frames * i / num_windows) for i in range(num_windows + 1)]
        windows = [
            self._encode_window(
                expression[:, start:end],
                audio[:, 2 * start : 2 * end],
                expression_mask[:, start:end],
                audio_mask[:, 2 * start : 2 * end],
            )
            for start, end in pairwise(edges)
        ]
        means, stds, weights = (torch.stack(values) for values in zip(*windows, strict=True))
        # A compiled graph cannot branch on values: there the length is looked at, not the masks.
        if not torch.compiler.is_compiling() and (weights.sum(0) == 0).any():
            raise ValueError(too_few)
        if num_windows == 1:
            return StyleDistribution(means[0], stds[0], encoder_id=self.config.encoder_id)
        weights = weights.to(means.dtype) / weights.sum(0)  # (windows, batch, 1)
        precision = (weights / stds.square()).sum(0)
        mean = (weights * means / stds.square()).sum(0) / precision
        return StyleDistribution(mean, precision.rsqrt(), encoder_id=self.config.encoder_id)

    @apply_forward_hook
    def prior(self) -> StyleDistribution:
        """N(0, I), which the training's KL term ties all styles to: sample it for a new style."""
        mean = self.bank.new_zeros(self.config.style_dim)
        return StyleDistribution(
            mean, torch.ones_like(mean), name="prior", encoder_id=self.config.encoder_id
        )

    @property
    def style_bank(self) -> StyleBank:
        """The named styles of this checkpoint, as a mapping from name to distribution."""
        return StyleBank(self)

    @apply_forward_hook
    def get_style(self, name: str) -> StyleDistribution:
        """A style of the bank. Raises `UnknownStyleError` listing the known names."""
        names = list(self.config.style_names)
        if name not in names:
            raise UnknownStyleError(describe_unknown(name, names))
        mean, std = self.bank[names.index(name)]
        return StyleDistribution(mean, std, name, encoder_id=self.config.encoder_id)

    def add_style(self, name: str, style: StyleDistribution) -> None:
        """Put a single style into the bank, under a new name; save the model to keep it.

        Raises:
            ValueError: the name is taken, or one that no style may have; the style is none, not
                finite, or of another encoder or size; or the weights are offloaded.
        """
        self._check_bank_is_here()
        names = list(self.config.style_names)
        if not isinstance(name, str) or not name or name in names:
            raise ValueError(f"cannot add style {name!r}: give a name that no other style has.")
        if len(name) > MAXIMUM_NAME or not name.isprintable():
            raise ValueError(f"cannot add style: {MAXIMUM_NAME} printable characters at most.")
        if name in RESERVED_NAMES or set(name) & set(RESERVED_CHARACTERS):
            raise ValueError(
                f"cannot add style {name!r}: {', '.join(RESERVED_NAMES)} mean something else, and "
                f"{' '.join(RESERVED_CHARACTERS)} belong to schedules and files."
            )
        self.check_style(style)
        if style.mean.ndim != 1:
            raise ValueError(f"one style is needed, got a batch {tuple(style.mean.shape)}.")
        if not (style.mean.isfinite().all() and style.std.isfinite().all()):
            raise ValueError("the style has numbers that are NaN or infinite.")
        self.bank = torch.cat([self.bank, torch.stack([style.mean, style.std])[None].to(self.bank)])
        self.register_to_config(style_names=[*names, name])

    def remove_style(self, name: str) -> None:
        """Take a style out of the bank.

        Raises:
            UnknownStyleError: listing the known names.
            ValueError: the weights are offloaded.
        """
        self._check_bank_is_here()
        names = list(self.config.style_names)
        if name not in names:
            raise UnknownStyleError(describe_unknown(name, names))
        kept = [row for row, known in enumerate(names) if known != name]
        self.bank = self.bank[kept]
        self.register_to_config(style_names=[names[row] for row in kept])

    def _check_bank_is_here(self) -> None:
        # Sequential offloading keeps a copy of the bank, which it would bring back.
        if any(weight.is_meta for weight in self.parameters()):
            raise ValueError(
                "the style bank cannot be changed while the weights are offloaded: change it "
                "before offloading is enabled."
            )

    def check_style(self, style: StyleDistribution) -> None:
        """Raise `ValueError` if `style` is none, or lives in the space of another encoder."""
        check_style_type(style)
        if style.mean.shape[-1] != self.config.style_dim:
            raise ValueError(
                f"the style has {style.mean.shape[-1]} dimensions, this encoder's styles have "
                f"{self.config.style_dim}."
            )
        if style.encoder_id not in (None, self.config.encoder_id):
            raise ValueError(
                f"the style was made by encoder {style.encoder_id}, this is encoder "
                f"{self.config.encoder_id}: encode its clip again with this one."
            )

    def _encode_window(
        self, expression: Tensor, audio: Tensor, expression_mask: Tensor, audio_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, std `(batch, style_dim)` and number of valid frames `(batch, 1)`, 0 if too few."""
        expression = (expression - self.expression_mean) / self.expression_std
        audio = (audio - self.audio_mean) / self.audio_std
        s_beta = transform(
            self.expression_proj, self.expression_transformer, expression, expression_mask
        )
        s_alpha = transform(self.audio_proj, self.audio_transformer, audio, audio_mask)

        frames, embeddings = expression_mask.sum(1), audio_mask.sum(1)
        has_expression = frames >= self.config.min_frames
        # The expression asks and the audio answers; without expression the audio asks.
        queries = torch.cat([s_beta, s_alpha], dim=1)
        query_mask = torch.cat(
            [expression_mask & has_expression[:, None], audio_mask & ~has_expression[:, None]],
            dim=1,
        )
        keys = torch.cat([self.no_audio.expand(len(s_alpha), -1, -1), s_alpha], dim=1)
        key_mask = torch.cat([audio_mask.new_ones(len(s_alpha), 1), audio_mask], dim=1)
        attended, _ = self.cross_attention(
            queries, keys, keys, additive_mask(key_mask, keys), need_weights=False
        )
        pooled = self.pooling(self.norm(queries + attended), query_mask)
        # The bounds keep a standard deviation positive in half precision and a sample finite.
        std = self.to_log_std(pooled).clamp(-5.0, 2.0).exp()
        valid = torch.where(has_expression, frames, embeddings // 2)
        return self.to_mean(pooled), std, (valid * (valid >= self.config.min_frames))[:, None]


def hash_style(mean: Tensor, std: Tensor) -> str:
    """SHA-256 of the bytes of a style's numbers."""
    data = torch.cat([part.detach().contiguous().view(torch.uint8).ravel() for part in (mean, std)])
    return hashlib.sha256(data.cpu().numpy().tobytes()).hexdigest()


def describe_unknown(name: str, names: Sequence[str]) -> str:
    """Say that a style is unknown, and which name may have been meant."""
    name = str(name)
    if len(names) <= FEW_NAMES:
        return f"unknown style {name[:60]!r}; known here: {', '.join(names) or 'none'}"
    near = difflib.get_close_matches(name[:100].lower(), names, n=FEW_NAMES, cutoff=0.4)
    guess = f"did you mean {', '.join(near)}?" if near else f"for instance {', '.join(names[:3])}."
    return f"unknown style {name[:60]!r} among {len(names)}; {guess}"


def check_input(name: str, values: Tensor, mask: Tensor | None, statistics: Tensor) -> Tensor:
    """The mask of one modality, all valid by default; raises `ValueError` for wrong shapes."""
    if values.ndim != 3 or values.shape[-1] != len(statistics):
        raise ValueError(
            f"`{name}` must be (batch, time, {len(statistics)}), got {tuple(values.shape)}."
        )
    if mask is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    if mask.shape != values.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"`{name}_mask` must be boolean {tuple(values.shape[:2])}, "
            f"got {mask.dtype} {tuple(mask.shape)}."
        )
    return mask


def transform(
    projection: nn.Linear, transformer: nn.TransformerEncoder, values: Tensor, mask: Tensor
) -> Tensor:
    """Project, add positions and run one transformer: `(batch, time, dim)` -> hidden states."""
    hidden_states = projection(values)
    if not values.shape[1]:
        return hidden_states
    hidden_states = hidden_states + sinusoidal_positions(hidden_states)
    return transformer(hidden_states, src_key_padding_mask=additive_mask(mask, hidden_states))


def sinusoidal_positions(hidden_states: Tensor) -> Tensor:
    """Sine and cosine position embeddings `(time, dim)` for `(batch, time, dim)`, dim even."""
    time, dim = hidden_states.shape[1:]
    positions = torch.arange(time, device=hidden_states.device, dtype=torch.float32)
    frequencies = torch.exp(
        torch.arange(0, dim, 2, device=hidden_states.device) * (-math.log(10000.0) / dim)
    )
    angles = positions[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(hidden_states.dtype)


def additive_mask(mask: Tensor, like: Tensor) -> Tensor:
    """Boolean mask, True is valid -> 0 and a large negative number, to add to scores.

    Not minus infinity: a row without a valid entry must stay finite (its result is not used).
    """
    return mask.logical_not().to(like.dtype) * -1e4
