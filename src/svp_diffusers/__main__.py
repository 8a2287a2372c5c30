"""`python -m svp_diffusers` is `svp`."""

from svp_diffusers.cli.main import main

main()
