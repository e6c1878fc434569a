"""A part of an output, computed from what it depends on alone, is bit for bit what the whole holds there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from superres.errors import ModelFileError
from superres.nets import Architecture, UNet, place
from superres.nets.device import layout

THIN = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "channels": 1, "consistency_sigma": 1.0}


def make(**kind: Any) -> UNet:
    torch.manual_seed(0)
    net = UNet(Architecture(**{"factor": (1, 2, 2), "interval": True} | THIN | kind))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return place(net.eval(), torch.device("cpu"))


def image(*shape: int) -> torch.Tensor:
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return batch.to(memory_format=layout(batch))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ({"factor": (1, 2, 3)}, (1, 1, 272, 240)),
        ({"channels": 2, "consistency_sigma": 0.0}, (1, 2, 240, 240)),
        ({"widths": (8, 12), "frames": 3, "target": 1}, (1, 3, 200, 200)),
        ({"attention": True}, (1, 1, 200, 160)),
        ({"grid": "high"}, (1, 1, 152, 152)),
        ({"dimensions": 3, "factor": (2, 2, 2), "widths": (8, 12)}, (1, 1, 44, 96, 88)),
    ],
)
@torch.inference_mode()
def test_part_of_the_whole(kind: dict[str, Any], shape: tuple[int, ...]) -> None:
    net, low = make(**kind), image(*shape)
    whole = torch.cat(net.with_interval(low), dim=1)
    assert whole.std() > 0
    middle = tuple(slice(n // 2 // 4 * 4, n // 2 // 4 * 4 + 12) for n in shape[2:])
    corner = tuple(slice(0, n // 8 * 4) for n in shape[2:])
    for inner in (middle, corner, (*corner[:-1], middle[-1])):
        fine = tuple(slice(part.start * f, part.stop * f) for part, f in zip(inner, net.factor, strict=True))
        found = net.within(low, inner, interval=True)
        assert torch.equal(found, whole[(..., *fine)])
        assert torch.equal(net.within(low, inner), found[:, : net.architecture.channels])


@torch.inference_mode()
def test_less_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    net, low, seen = make(), image(1, 1, 400, 400), []
    decoder = net.decoder[0]
    monkeypatch.setattr(decoder, "forward", lambda x, run=decoder.forward: (seen.append(x.shape), run(x))[1])
    net.within(low, (slice(100, 300), slice(100, 300)))
    # Two voxels for each convolution of the level and one for the last, five for the consistency layer; on the stride.
    assert seen[0][2:] == (216, 216)


def test_no_interval_head() -> None:
    with pytest.raises(ModelFileError, match="predicts no intervals"):
        make(interval=False).within(image(1, 1, 16, 16), (slice(0, 8), slice(0, 8)), interval=True)
