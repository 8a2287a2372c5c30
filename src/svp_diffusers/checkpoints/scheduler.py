"""The scheduler that checkpoints of ours start with."""

from diffusers import DDIMScheduler


def default_scheduler(beta_schedule: str = "scaled_linear") -> DDIMScheduler:
    """DDIM with v-prediction, zero terminal SNR and trailing timesteps (our default).

    Args:
        beta_schedule: of Stable Diffusion; EchoMimic, Hallo and AnimateAnyone have "linear".
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule=beta_schedule,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )
