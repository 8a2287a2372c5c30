"""Telling networks apart by their weights."""

import hashlib
from collections.abc import Collection

from torch import nn


def fingerprint_weights(module: nn.Module, without: Collection[str] = ()) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over names, shapes and values of the weights.

    Args:
        module: the network, of any precision and on any device.
        without: names of weights that do not count.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name not in without:
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
