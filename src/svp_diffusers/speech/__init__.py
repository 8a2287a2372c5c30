"""From a waveform to audio features."""
