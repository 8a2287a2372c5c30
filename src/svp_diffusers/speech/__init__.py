"""From a waveform to what encoders hear."""
