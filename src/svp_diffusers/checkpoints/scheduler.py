"""The scheduler that checkpoints of ours start with."""

from diffusers import DDIMScheduler


def default_scheduler() -> DDIMScheduler:
    """DDIM with v-prediction, zero terminal SNR and trailing timesteps (our default)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )
