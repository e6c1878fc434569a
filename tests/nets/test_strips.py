"""A net that works its way down a plane makes, bit for bit, what it makes of one tall tile."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from superres.nets import Architecture, UNet, place
from superres.nets.device import autocast, layout
from superres.nets.strips import Strips

THIN = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "channels": 1, "consistency_sigma": 1.0}


def make(**kind: Any) -> UNet:
    torch.manual_seed(0)
    net = UNet(Architecture(**{"factor": (1, 2, 2), "interval": True} | THIN | kind))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return place(net.eval(), torch.device("cpu"))


def image(inputs: int, rows: int, columns: int) -> torch.Tensor:
    batch = torch.randn((1, inputs, rows, columns), generator=torch.Generator().manual_seed(0))
    return batch.to(memory_format=layout(batch))


def passed_on(strips: Strips, low: torch.Tensor, sides: list[int]) -> list[torch.Tensor]:
    """Give rows in strips of these sides, as often as there are rows."""
    found, start = [], 0
    while start < low.shape[2]:
        side = min(sides[len(found) % len(sides)], low.shape[2] - start)
        found.append(strips.further(low[:, :, start : start + side]))
        start += side
    return found


@pytest.mark.parametrize(
    ("kind", "sides"),
    [
        ({}, [400]),
        ({"factor": (1, 4, 3), "blocks": 2, "middle_blocks": 2}, [124, 140, 136]),
        ({"widths": (8, 12), "frames": 3, "target": 1, "consistency_sigma": 0.0}, [200]),
        ({"channels": 2, "widths": (8, 12)}, [100]),
        ({"norm": "batch"}, [100]),
    ],
)
@torch.inference_mode()
def test_strips_make_what_one_tall_tile_makes(kind: dict[str, Any], sides: list[int]) -> None:
    net = make(**kind)
    low, halo = image(net.architecture.inputs, 400, 380), net.architecture.receptive_radius
    inner = (slice(halo, low.shape[2] - halo), slice(60, 320))
    for interval in (True, False):
        whole = net.within(low, inner, interval=interval)
        strips = Strips(net, first=halo, width=low.shape[3], inner=inner[1], interval=interval)
        found = torch.cat(passed_on(strips, low, sides), dim=2)[:, :, : whole.shape[2]]
        assert torch.equal(found, whole)


@torch.inference_mode()
def test_rows_come_out_as_soon_as_nothing_below_can_change_them() -> None:
    net = make(blocks=2, middle_blocks=2)
    low, halo = image(1, 480, 360), net.architecture.receptive_radius
    strips = Strips(net, first=halo, width=360, inner=slice(halo, 360 - halo), interval=False)
    made = given = 0
    for part in low.split(160, dim=2):
        made += strips.further(part).shape[2]
        given += part.shape[2]
        assert (given - 2 * halo) * 2 <= made <= (given - halo) * 2


@torch.inference_mode()
def test_layers_compute_little_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    net, rows = make(), 960
    low, halo, seen = image(1, rows, 240), net.architecture.receptive_radius, []
    decoder = net.decoder[0]
    monkeypatch.setattr(decoder, "forward", lambda x, run=decoder.forward: (seen.append(x.shape[2]), run(x))[1])
    passed_on(Strips(net, first=halo, width=240, inner=slice(halo, 240 - halo), interval=True), low, [160])
    assert len(seen) == 6
    assert sum(seen) <= rows + 6 * 4 * net.architecture.blocks


@torch.inference_mode()
def test_rounded_layers_go_the_same_way() -> None:
    net = make()
    low, halo = image(1, 320, 240), net.architecture.receptive_radius
    inner = (slice(halo, 320 - halo), slice(halo, 240 - halo))
    with autocast(torch.device("cpu")):
        whole = net.within(low, inner, interval=True)
        strips = Strips(net, first=halo, width=240, inner=inner[1], interval=True)
        found = torch.cat(passed_on(strips, low, [160]), dim=2)[:, :, : whole.shape[2]]
    assert (found - whole).abs().max() <= 0.02 * whole.abs().max()
