"""What is upscaled of a part of an input is what is upscaled of all of it, there."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.config import CropConfig, UpscaleConfig, load_config
from superres.errors import ConfigError, InputError
from superres.inference import upscale
from superres.inference.cropping import Crop
from superres.inference.interval import interval_path
from superres.inference.plan import plan_tiles
from superres.inference.trust import trust_path
from superres.inference.upscaling import Upscaling
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.nets.domain import Domain
from superres.volumes import open_volume, verify_store
from superres.volumes.hyperstack import save_hyperstack

CHAIN: list[dict[str, Any]] = [{"blur": {"sigma": 0.9}}, {"downsample": "binning"}, {"read_noise": {"sd": 0.03}}]
Spans = dict[str, tuple[int, int]]


def guarded_model(folder: Path) -> Path:
    """Write a model with random weights that has half-widths and says enough of itself to be guarded."""
    torch.manual_seed(0)
    thin: dict[str, Any] = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "consistency_sigma": 1.0}
    architecture = Architecture(factor=(1, 2, 2), channels=1, interval=True, **thin)
    net = UNet(architecture)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    weights = np.random.default_rng(0).uniform(0.2, 1, (21, 12)).astype(np.float32)
    header = ModelHeader(
        name="guarded",
        architecture=architecture.to_json(),
        factor=(1, 2, 2),
        channels=1,
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
        intensity={"percentiles": [0.5, 99.9], "average": 1},
        degradation=CHAIN,
        domain=Domain(weights, (0.1, 0.7)).to_json(),
    )
    save_model_file(folder / "guarded.safetensors", header, {k: v.numpy() for k, v in net.state_dict().items()})
    return folder / "guarded.safetensors"


def recording(path: Path, *shape: int) -> Path:
    image = np.random.default_rng(0).normal(3000, 900, shape)
    image[..., : shape[-2] // 3, : shape[-1] // 2] += 20_000
    save_hyperstack(path, image.clip(0, 65_535).astype(np.uint16), voxel_size=(0.5, 0.2, 0.2))
    return path


def configuration(model: Path, crop: Spans | None = None, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "device": "cpu", "tile": 24, "crop": crop} | changes)


def voxels(path: Path, factor: tuple[int, int, int], spans: Spans | None = None) -> np.ndarray:
    """Return a store, or the part of it that belongs to spans of the input."""
    whole = open_volume(path).levels[0].compute()
    if spans is None:
        return whole
    scale = dict(zip("tzyx", (1, *factor), strict=True))
    t, z, y, x = (slice(*(scale[a] * n for n in spans[a])) if a in spans else slice(None) for a in "tzyx")
    return whole[t, :, z, y, x]


@pytest.mark.parametrize("spans", [{"y": (13, 58), "x": (31, 77)}, {"t": (1, 2), "y": (0, 9)}, {"x": (99, 100)}])
def test_part_equals_the_whole_there_with_all_its_maps(tmp_path: Path, spans: Spans) -> None:
    model, source = guarded_model(tmp_path), recording(tmp_path / "in.tif", 2, 1, 1, 90, 100)
    whole, part = tmp_path / "whole.ome.zarr", tmp_path / "part.ome.zarr"
    upscale(source, whole, configuration(model))
    summary = upscale(source, part, configuration(model, spans))
    for place, factor in ((str, (1, 2, 2)), (trust_path, (1, 1, 1)), (interval_path, (1, 2, 2))):
        wanted = voxels(Path(place(whole)), factor, spans)
        assert wanted.std() > 0
        np.testing.assert_array_equal(voxels(Path(place(part)), factor), wanted)
        assert not verify_store(Path(place(part)))
    assert summary.trust is not None
    low = [spans.get(axis, (0, n)) for axis, n in zip("tyx", (2, 90, 100), strict=True)]
    assert summary.trust.voxels == math.prod(stop - start for start, stop in low), "no voxel counts twice"


@pytest.mark.parametrize(
    ("kind", "shape", "spans"),
    [
        ("volume", (1, 1, 14, 40, 37), {"z": (3, 9), "y": (5, 38), "x": (7, 8)}),
        ("frames", (1, 1, 6, 40, 37), {"z": (2, 4), "y": (5, 30)}),
        ("channels", (2, 2, 1, 40, 37), {"t": (1, 2), "x": (11, 37)}),
    ],
)
def test_part_equals_the_whole_with_every_kind_of_net(
    tmp_path: Path, thin_models: dict[str, Path], kind: str, shape: tuple[int, ...], spans: Spans
) -> None:
    source = recording(tmp_path / "in.tif", *shape)
    # Convolutions in three dimensions round smaller blocks in another way where nets are as thin as this one.
    plain = {"trust": False, "dtype": "float32", "tile": 80 if kind == "volume" else 24}
    upscale(source, tmp_path / "whole.zarr", configuration(thin_models[kind], **plain))
    upscale(source, tmp_path / "part.zarr", configuration(thin_models[kind], spans, **plain))
    factor = (1, 2, 2)
    np.testing.assert_array_equal(
        voxels(tmp_path / "part.zarr", factor), voxels(tmp_path / "whole.zarr", factor, spans)
    )


def test_part_lies_where_it_lies_in_the_whole(tmp_path: Path, thin_models: dict[str, Path]) -> None:
    source = recording(tmp_path / "in.tif", 1, 1, 3, 60, 60)
    spans: Spans = {"z": (1, 3), "y": (10, 30), "x": (21, 60)}
    upscale(source, tmp_path / "whole.zarr", configuration(thin_models["plane"], trust=False))
    upscale(source, tmp_path / "part.zarr", configuration(thin_models["plane"], spans, trust=False))
    whole, part = open_volume(tmp_path / "whole.zarr"), open_volume(tmp_path / "part.zarr")
    assert part.voxel_size == whole.voxel_size
    moved = [at + start * size for at, start, size in zip(whole.translation, (1, 20, 42), (0.5, 0.1, 0.1), strict=True)]
    assert part.translation == pytest.approx(moved)


def test_another_part_is_another_output(tmp_path: Path, thin_models: dict[str, Path]) -> None:
    from superres.errors import OutputExistsError

    source, out = recording(tmp_path / "in.tif", 1, 1, 1, 60, 60), tmp_path / "out.zarr"
    upscale(source, out, configuration(thin_models["plane"], {"y": (0, 30)}, trust=False))
    with pytest.raises(OutputExistsError):
        upscale(source, out, configuration(thin_models["plane"], {"y": (30, 60)}, trust=False))


@given(
    length=st.integers(1, 200),
    spans=st.tuples(st.integers(0, 199), st.integers(1, 200)),
    factor=st.integers(1, 4),
    tile=st.integers(4, 70),
)
@settings(max_examples=200, deadline=None)
def test_tiles_cover_a_part_and_begin_on_the_stride(
    length: int, spans: tuple[int, int], factor: int, tile: int
) -> None:
    start, stop = min(spans[0], length - 1), min(max(spans[1], min(spans[0], length - 1) + 1), length)
    plan = plan_tiles((1, 8, length), factor=(1, 1, factor), radius=(0, 8, 8), stride=(1, 4, 4), tile=tile)
    region = (slice(0, 1), slice(0, 8), slice(start * factor, stop * factor))
    columns = sorted({block[2].start: block[2] for block in plan.blocks(region)}.values(), key=lambda part: part.start)
    assert all(part.start % 4 == 0 for part in columns)
    assert columns[0].start <= start < columns[0].start + 4
    assert stop <= columns[-1].stop < stop + 4
    assert all(one.stop == other.start for one, other in itertools.pairwise(columns))
    assert columns[-1].stop <= length
    assert plan.count(region) == len(list(plan.blocks(region)))


def test_tiles_of_all_shards_are_counted_without_listing_them(tmp_path: Path, thin_models: dict[str, Path]) -> None:
    source = recording(tmp_path / "in.tif", 2, 1, 1, 90, 100)
    spans: Spans = {"t": (1, 2), "y": (13, 80), "x": (31, 97)}
    for number, crop in enumerate((None, spans)):
        config = configuration(thin_models["plane"], crop, shard=1, trust=False)
        upscaling = Upscaling.open(source, tmp_path / f"{number}.zarr", config)
        assert upscaling.all_tiles() == sum(map(upscaling.tiles, upscaling.units()))


def test_part_beyond_the_input_is_refused_with_its_length(tmp_path: Path) -> None:
    volume = open_volume(recording(tmp_path / "in.tif", 1, 1, 1, 60, 50))
    with pytest.raises(InputError, match=r"x 40 to 51 asked for, it has 50 along X.*--crop x=0:50"):
        Crop.of(volume, CropConfig(x=(40, 51)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("crop.y=[30, 30]", "the first index and the one behind the last"),
        ("crop.y=10:30", "such as \\[100, 300\\]"),  # YAML reads 630
        ("crop.y=5", "such as \\[100, 300\\]"),
        ("crop.c=[0, 1]", "crop.c"),
    ],
)
def test_what_is_no_part_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(UpscaleConfig, None, [override], model=Path("m"))


def test_parts_are_read_from_settings() -> None:
    config = load_config(UpscaleConfig, None, ["crop.y=[10, 30]"], model=Path("m"), crop={"x": "7:9"})
    assert config.crop == CropConfig(y=(10, 30), x=(7, 9))
