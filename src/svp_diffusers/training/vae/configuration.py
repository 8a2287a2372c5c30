"""The options of the training of a VAE."""

from dataclasses import dataclass

from svp_diffusers.training.loop.configuration import LoopConfiguration, require


@dataclass(frozen=True, kw_only=True)
class VAETrainingConfiguration(LoopConfiguration):
    """Options of `svp train vae`, at tiny scale; every default is our choice.

    Data:
        data: dataset of shards with frames (see `FrameDataset`); its split "train" is trained on,
            "validation" is validated on.
        batch_size: frames in a global batch. A few only: on a CPU the number of steps is what
            decides.
        validation_frames: spread over the validation split.

    Autoencoder: see `SpaceToDepthAutoencoderKL`.
        patch_size: pixels folded into channels.
        base_channels: of the first block; each of the `num_blocks` has twice those of the one
            before.
        layers_per_block, latent_channels, norm_num_groups.
        decoder_of: folder of a trained VAE, in place of a new one: its decoder alone is trained
            further, and what was cached or trained with its latents stays valid.

    Objective: weighted L1 + `mse_weight` * weighted squared error + `gradient_weight` * weighted L1
    of the differences between neighbouring pixels + `kl_weight` * mean KL to N(0, I) of a latent.
        mse_weight: cares for large errors of colour.
        gradient_weight: keeps edges sharp.
        kl_weight: small: it only keeps the latents within bounds.
        face_weight, feature_weight: of pixels of the face, and of the mouth, eyes and brows; the
            background has 1.
        adversarial_weight: of the loss that a discriminator of patches gives, which draws teeth,
            lashes and hair where the others blur; 0 is without. With `decoder_of` only: it is what
            finishes a decoder.

    Optimisation: see `LoopConfiguration`; here a high rate and a short memory of squared gradients,
    which a run of few steps needs. bf16 is faster only on CPUs that have it (avx512_bf16); others
    imitate it, tens of times slower than float32.
    """

    data: str
    batch_size: int = 6
    validation_frames: int = 96
    patch_size: int = 2
    base_channels: int = 32
    num_blocks: int = 3
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 16
    decoder_of: str | None = None
    mse_weight: float = 2.0
    gradient_weight: float = 0.5
    kl_weight: float = 4e-4
    face_weight: float = 2.0
    feature_weight: float = 4.0
    adversarial_weight: float = 0.0
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    adam_beta2: float = 0.99
    weight_decay: float = 1e-4
    log_every: int = 50
    validate_every: int = 500

    @property
    def scale_factor(self) -> int:
        """Pixels to a side of a latent."""
        return self.patch_size * 2 ** (self.num_blocks - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            *("batch_size", "validation_frames", "patch_size", "base_channels", "num_blocks"),
            *("layers_per_block", "latent_channels", "norm_num_groups"),
        ):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more")
        require(
            self.base_channels % self.norm_num_groups == 0,
            "base_channels must be a multiple of norm_num_groups",
        )
        for name in ("mse_weight", "gradient_weight", "kl_weight", "adversarial_weight"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more")
        require(
            not self.adversarial_weight or self.decoder_of is not None,
            "adversarial_weight needs decoder_of: it finishes the decoder of a trained VAE",
        )
        for name in ("face_weight", "feature_weight"):
            require(getattr(self, name) > 0, f"{name} must be above 0")
