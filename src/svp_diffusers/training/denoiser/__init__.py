"""Stages 2 and 3: the denoising networks on frames and on clips."""
