"""Named styles, schedules and the readers of expression coefficients."""
