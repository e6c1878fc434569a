"""The critic of a GAN phase: tells patches of sharp images from patches that the generator made."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_WIDTHS = (64, 128, 256)


class Critic(nn.Module):
    """Four 4x4 convolutions with stride 2 but for the last two, leaky ReLU, one number per patch of 46 voxels.

    A conditional patch critic (Isola et al. 2017, arXiv 1611.07004) with spectral norm (Miyato et al. 2018, arXiv
    1802.05957), which bounds how fast its opinion may change, and no other norm. It sees the image beside the
    interpolated recording: what counts is not whether an image looks sharp, but whether it looks like this recording
    made sharp.

    Parameters
    ----------
    channels : int
        Image channels.
    seed : int
        Of its first weights; torch's global random numbers are left alone.
    """

    def __init__(self, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        inputs = (2 * channels, *_WIDTHS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.ModuleList(
                spectral_norm(nn.Conv2d(a, b, 4, stride=2 if number < 2 else 1, padding=1))
                for number, (a, b) in enumerate(zip(inputs, _WIDTHS, strict=False))
            )
            self.tail = spectral_norm(nn.Conv2d(_WIDTHS[-1], channels, 4, padding=1))

    def forward(self, image: Tensor, interpolated: Tensor) -> Tensor:
        """Return logits, higher for patches held to be real.

        Parameters
        ----------
        image, interpolated : Tensor
            float32, (n, channels, y, x), normalised intensity; a sharp image or a prediction, and the recording
            brought to its grid.

        Returns
        -------
        Tensor
            (n, channels, about y / 4, about x / 4).
        """
        x = torch.cat([image, interpolated], dim=1)
        for conv in self.body:
            x = F.leaky_relu(conv(x), 0.2)
        logits: Tensor = self.tail(x)
        return logits
