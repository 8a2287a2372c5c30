"""Many videos from one manifest: the job of `svp batch`, resumable, every line reported."""
