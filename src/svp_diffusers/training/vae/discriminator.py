"""A discriminator of patches, which makes a decoder draw what squared error only blurs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class PatchDiscriminator(nn.Module):
    """Says of each patch of a picture whether it is of a real one (as PatchGAN; sizes our choice).

    A patch is 46 pixels wide: an eye with its brow, a mouth, a lock of hair.

    Args:
        channels: of the first layer; each of the others has twice those of the one before.
    """

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, 2, 1),
                nn.GroupNorm(8, 2 * channels),
                nn.LeakyReLU(0.2),
            ]
            channels *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (n, 1, h, w) of pictures (n, 3, H, W) in [-1, 1]; above 0 for real ones."""
        scores: Tensor = self.layers(pixels)
        return scores

    def judge(self, real: Tensor, made: Tensor) -> Tensor:
        """Hinge loss of this network: real pictures above 1, made ones below -1."""
        return (
            F.relu(1 - self(real)).mean().float() + F.relu(1 + self(made.detach())).mean().float()
        )

    def deceive(self, made: Tensor) -> Tensor:
        """Loss of what made the pictures: their score, negative. It moves no weight of this one."""
        frozen = {name: weight.detach() for name, weight in self.named_parameters()}
        scores: Tensor = functional_call(self, frozen, (made,))
        return -scores.mean().float()


def build_discriminator(seed: int) -> PatchDiscriminator:
    """A new discriminator, initial weights from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PatchDiscriminator()
