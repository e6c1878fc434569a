"""Room on the disk is known before anything is written, and a plan says what comes true."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

from superres.config import UpscaleConfig
from superres.errors import InputError, OutputWriteError
from superres.inference import load_model, upscale
from superres.inference.estimate import (
    Room,
    Space,
    outlook,
    parts_of,
    require_space,
    space_free,
    space_needed,
    space_taken,
)
from superres.inference.forecast import Pace, forecast
from superres.inference.predictor import Predictor
from superres.volumes import OutputStore, StoreLayout, open_volume
from superres.volumes.records import records_folder

MakeModel = Callable[..., Path]
MakePredictor = Callable[..., Predictor]


def tiff(path: Path, image: NDArray[Any]) -> Path:
    tifffile.imwrite(path, image, photometric="minisblack")
    return path


def stores_of(out: Path) -> list[Path]:
    return [path for path in parts_of(out) if path.is_dir()]


@pytest.mark.parametrize(("kind", "factor"), [("noise", (1, 2, 2)), ("even", (1, 4, 4)), ("photograph", (1, 2, 2))])
def test_what_is_written_is_what_was_foretold(
    kind: str, factor: tuple[int, int, int], tmp_path: Path, make_model: MakeModel
) -> None:
    """Shapes, shards, levels and unpacked bytes exactly; packed bytes from above, and not by much."""
    image = {
        "noise": np.random.default_rng(0).integers(0, 60_000, (70, 90)).astype(np.uint16),
        "even": np.linspace(0, 255, 70 * 90).reshape(70, 90).astype(np.uint8),
        "photograph": data.camera()[100:170, 150:280],
    }[kind]
    source, out = tiff(tmp_path / "a.tif", image), tmp_path / "o" / "a.ome.zarr"
    config = UpscaleConfig(model=make_model(factor, std=0), device="cpu", tile=72, shard=1)
    predictor = load_model(config.model, "cpu")
    volume = open_volume(source)
    ahead = outlook(volume, predictor, config)
    told = forecast(volume, source, out, config, Pace(predictor))
    assert not out.parent.exists()
    events: list[Any] = []
    upscale(source, out, config, progress=events.append, predictor=predictor)
    written = open_volume(out)
    assert (told.output_shape, told.output_dtype, told.levels) == (written.shape, written.dtype, len(written.levels))
    assert told.tiles == max(event.total for event in events if event.stage == "upscale")
    records = records_folder(out)
    assert told.shards == len(list(records.glob("*/0/*.json")))
    unpacked = sum(
        level.nbytes for store in stores_of(out) for level in open_volume(store).levels
    )  # the maps among them
    assert told.space.unpacked == unpacked
    assert set(ahead.layouts) == {"image", "trust"}
    taken = space_taken(out)
    assert taken <= told.space.packed <= 1.6 * taken + 400_000
    assert told.seconds > 0
    assert told.memory > 0


def test_an_output_with_intervals_is_foretold(tmp_path: Path, make_predictor: MakePredictor) -> None:
    source = tiff(tmp_path / "a.tif", data.cell()[:100, :80])
    config = UpscaleConfig(model=tmp_path, dtype="uint16")
    ahead = outlook(open_volume(source), make_predictor("XS", (1, 2, 2), interval=True), config)
    shapes = {kind: (layout.shape, layout.dtype) for kind, layout in ahead.layouts.items()}
    assert shapes == {
        "image": ((1, 1, 1, 200, 160), "uint16"),
        "trust": ((1, 3, 1, 100, 80), "float32"),
        "interval": ((1, 2, 1, 200, 160), "uint16"),
    }
    alone = config.model_copy(update={"trust": False})
    assert set(outlook(open_volume(source), make_predictor("XS", (1, 2, 2), interval=True), alone).layouts) == {"image"}


def test_channels_that_are_not_there_are_refused(tmp_path: Path, make_predictor: MakePredictor) -> None:
    source = tiff(tmp_path / "a.tif", data.cell()[:40, :40])
    with pytest.raises(InputError, match="it has 0 to 0"):
        outlook(open_volume(source), make_predictor("XS", (1, 2, 2)), UpscaleConfig(model=tmp_path, channels=(1,)))


@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 2, 5, 900, 900))),
    share=st.floats(0, 1),
)
def test_needs_grow_with_the_share_and_never_beyond_the_whole(
    shape: tuple[int, int, int, int, int], share: float
) -> None:
    layout = StoreLayout(shape, "uint16", (1, 512, 512), (1, 256, 256), fingerprint="0")
    found = space_needed({"image": layout}, share)
    assert found.unpacked >= 2 * np.prod(shape)
    assert space_needed({"image": layout}, 0).packed <= found.packed <= space_needed({"image": layout}, 1).packed
    files = space_needed({"image": layout}, 0).packed
    assert space_needed({"image": layout}, 1).packed <= found.unpacked + files
    assert space_needed({"image": layout, "trust": layout}, share).unpacked == 2 * found.unpacked


def test_needs_are_added_up() -> None:
    assert Space(1, 2) + Space(3, 4) == Space(4, 6)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how many bytes are free."""

    def have(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))

    return have


def test_what_does_not_fit_is_refused_with_both_figures(tmp_path: Path, disk: Callable[[int], None]) -> None:
    disk(1_500_000)
    require_space(tmp_path / "o", [], Space(9_000_000, 1_500_000))
    with pytest.raises(OutputWriteError) as error:
        require_space(tmp_path / "o", [], Space(9_000_000, 1_600_000))
    for words in (f"{tmp_path / 'o'}: ", "1.6 MB are needed", "9 MB before", "1.5 MB are free", "check_disk=false"):
        assert words in str(error.value)


def test_what_is_there_of_an_output_counts(tmp_path: Path, disk: Callable[[int], None]) -> None:
    out = tmp_path / "a.ome.zarr"
    layout = StoreLayout((1, 1, 1, 512, 512), "uint16", (1, 256, 512), (1, 256, 256), fingerprint="f")
    store = OutputStore.open(out, layout)
    noise = np.random.default_rng(0).integers(0, 60_000, (1, 256, 512)).astype(np.uint16)
    store.write(store.units()[0], noise)
    assert 256 * 512 * 2 < space_taken(out) < 256 * 512 * 2 + 60_000
    need = Space(9_000_000, 500_000)
    disk(300_000)
    require_space(out, [out], need)
    with pytest.raises(OutputWriteError, match="are there"):
        disk(100_000)
        require_space(out, [out], need)


def test_the_disk_is_that_of_the_folder_that_will_hold_it(tmp_path: Path) -> None:
    assert space_free(tmp_path / "not" / "there" / "yet.zarr") == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.1
    )
    assert space_taken(tmp_path / "not there") == 0


def test_a_batch_is_looked_at_as_a_whole(
    tmp_path: Path, make_predictor: MakePredictor, disk: Callable[[int], None]
) -> None:
    sources = [tiff(tmp_path / f"{name}.tif", data.camera()[:128, :128]) for name in "abc"]
    predictor, config = make_predictor("XS", (1, 2, 2)), UpscaleConfig(model=tmp_path)
    inputs = {tmp_path / f"{path.stem}.zarr": open_volume(path) for path in sources}
    one = next(iter(inputs.items()))
    disk(10**9)
    Room(config).require(tmp_path, inputs, predictor)
    needs = []
    for several in ([one], list(inputs.items())):
        free = 0
        disk(free)
        with pytest.raises(OutputWriteError) as error:
            Room(config).require(tmp_path, dict(several), predictor)
        needs.append(float(str(error.value).split("about ")[1].split(" kB")[0]))
    assert needs[1] == pytest.approx(3 * needs[0], rel=0.02)
