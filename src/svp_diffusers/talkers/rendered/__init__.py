"""Rendered talkers: 3-D heads with the rig of the drawn ones, who look like photographs.

Everything is computed on a CPU by kernels of numba, which are compiled when they are first used:
half a minute, once on a machine. Numba notices a change of the file that a kernel stands in, not of
those that it calls: whoever changes one deletes the `.nbi` and `.nbc` files in `__pycache__`.
"""
