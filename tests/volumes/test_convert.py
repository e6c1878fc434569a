"""Conversion: what goes in comes out, whatever the format, and stays what it was when something goes wrong."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import tifffile
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.errors import Cancelled, InputError, OutputExistsError, OutputWriteError
from superres.progress import Progress
from superres.volumes import Volume, open_volume, verify_store
from superres.volumes.axes import TczyxArray
from superres.volumes.convert import convert, format_of
from superres.volumes.hyperstack import save_hyperstack
from superres.volumes.ngff import channel_colours
from superres.volumes.pyramid import mean_pooled
from superres.volumes.volume import Calibration, make_volume

RNG = np.random.default_rng(0)
FORMATS = {"ome-zarr-0.5": ".ome.zarr", "ome-zarr-0.4": ".ome.zarr", "ome-tiff": ".ome.tif", "imagej": ".tif"}
DTYPES = {
    "ome-zarr-0.5": ["uint8", "int8", "uint16", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64"],
    "ome-zarr-0.4": ["uint8", "int8", "uint16", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64"],
    "ome-tiff": ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"],
    "imagej": ["uint8", "uint16", "float32"],
}


class InMemory:
    """Voxels that count how often each is read."""

    def __init__(self, voxels: np.ndarray[Any, Any], block: tuple[int, ...] = ()) -> None:
        self.voxels = voxels
        self.shape, self.dtype, self.block = voxels.shape, voxels.dtype, block
        self.reads = np.zeros(voxels.shape, np.uint8)

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        self.reads[region] += 1
        return self.voxels[region]


def volume_of(
    voxels: np.ndarray[Any, Any], source: Path, calibration: Calibration | None = None, block: tuple[int, ...] = ()
) -> Volume:
    """Make a volume without a format; `source` stands for its file."""
    source.write_bytes(b"voxels")
    array = TczyxArray(InMemory(voxels, block), "TCZYX")
    return make_volume([array], calibration or Calibration(), axes="TCZYX", format="memory", source=source)


CALIBRATION = Calibration((0.5, 0.1, 0.2), (1.5, -2.0, 0.25), ("DAPI", "GFP"), 2.5, ("0000FF", "00FF00"))


def random_voxels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.normal(100, 50, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


# --- round trips -----------------------------------------------------------------------------------------------------

sizes = st.none() | st.floats(1e-3, 1e3)
# Among them names that a careless reader takes for numbers, truth values or lists.
names = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=8).map(str.strip)
names |= st.from_regex(r"[-+]?0*[0-9]{1,3}([.,eE_][0-9]{1,2})?|true|FALSE|nan|-?inf|None|0x1f", fullmatch=True)


@st.composite
def volumes(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any], Calibration, tuple[int, ...]]:
    format = draw(st.sampled_from(sorted(FORMATS)))
    dtype = draw(st.sampled_from(DTYPES[format]))
    shape = tuple(draw(st.integers(1, most)) for most in (3, 3, 5, 40, 40))
    yx = draw(st.none() | st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)))
    # ImageJ holds sizes of voxels only along with those of both axes of the plane.
    size = (draw(sizes), *yx) if yx else (None,) * 3 if format == "imagej" else tuple(draw(sizes) for _ in range(3))
    channels = draw(st.just(()) | st.lists(names.filter(bool), min_size=shape[1], max_size=shape[1], unique=True))
    step = draw(st.none() | st.floats(1e-3, 1e4)) if shape[0] > 1 else None
    block = tuple(draw(st.integers(1, n)) for n in shape) if draw(st.booleans()) else ()
    voxels = random_voxels(shape, dtype, draw(st.integers(0, 99)))
    shift = tuple(draw(st.floats(-1e3, 1e3)) if p else 0.0 for p in size)
    colours = ("FF8000", "0000FF", "FFFFFF")[: shape[1]] if draw(st.booleans()) else ()
    return format, voxels, Calibration(size, shift, tuple(channels), step, colours), block  # type: ignore[arg-type]


def close(found: tuple[float | None, ...], expected: tuple[float | None, ...]) -> bool:
    """Whether the same are unknown and the others equal, but for rounding."""
    pairs = list(zip(found, expected, strict=True))
    return all((a is None) == (b is None) and (a is None or a == pytest.approx(b, rel=1e-6)) for a, b in pairs)


@settings(max_examples=40)
@given(drawn=volumes())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    format, voxels, calibration, block = drawn
    folder = tmp_path_factory.mktemp("c")
    volume = volume_of(voxels, folder / "source", calibration, block)
    out = folder / f"öut 1{FORMATS[format]}"
    summary = convert(volume, out, format=format)
    assert volume.finest is not None
    assert (volume.finest.inner.reads == 1).all(), "every voxel is read once"
    back = open_volume(out)
    assert back.shape == voxels.shape
    assert back.dtype == voxels.dtype
    np.testing.assert_array_equal(np.asarray(back.levels[0]), voxels)
    assert (summary.clipped, summary.rounded, summary.dtype) == (0, 0, voxels.dtype.name)
    assert close(back.voxel_size, calibration.voxel_size)
    assert close((back.time_step,), (calibration.time_step,))
    assert back.channel_names == calibration.channel_names
    usual = () if format == "imagej" else channel_colours(voxels.shape[1])
    assert back.channel_colours == (calibration.channel_colours or usual)
    if format != "imagej":
        assert back.translation == pytest.approx(calibration.translation)
    if format.startswith("ome-zarr"):
        assert back.format == f"OME-Zarr {format[-3:]}"
        yaozarrs.validate_zarr_store(str(out))
        assert verify_store(out) == []
    else:
        assert back.format == {"ome-tiff": "OME-TIFF", "imagej": "ImageJ TIFF"}[format]
    assert [path.name for path in folder.iterdir() if path.name.endswith(".partial")] == []


def test_colours_and_what_an_image_says_of_itself_stay(tmp_path: Path) -> None:
    volume = volume_of(random_voxels((1, 2, 3, 30, 40), "uint16"), tmp_path / "source", CALIBRATION)
    convert(volume, tmp_path / "a.ome.zarr")
    store = tmp_path / "a.ome.zarr" / "zarr.json"
    attributes = json.loads(store.read_text())["attributes"]
    assert [channel["color"] for channel in attributes["ome"]["omero"]["channels"]] == ["0000FF", "00FF00"]
    content = json.loads(store.read_text())
    content["attributes"]["superres"]["note"] = "the voxels of this image are predicted"
    store.write_text(json.dumps(content))
    convert(open_volume(tmp_path / "a.ome.zarr"), tmp_path / "b.zarr", format="ome-zarr-0.4")
    own = json.loads((tmp_path / "b.zarr" / ".zattrs").read_text())["superres"]
    assert own["note"] == "the voxels of this image are predicted"
    assert own["converted_from"]["name"] == "a.ome.zarr"
    convert(open_volume(tmp_path / "b.zarr"), tmp_path / "c.ome.tif")
    with tifffile.TiffFile(tmp_path / "c.ome.tif") as file:
        assert "the voxels of this image are predicted" in str(file.ome_metadata)


# --- what is written, seen by other eyes -----------------------------------------------------------------------------


def test_older_zarr_has_separate_chunks(tmp_path: Path) -> None:
    voxels = random_voxels((2, 1, 40, 520, 130), "uint16")
    convert(volume_of(voxels, tmp_path / "source"), tmp_path / "a.zarr", format="ome-zarr-0.4")
    array = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")
    assert (array.metadata.zarr_format, array.shards) == (2, None)
    assert 2**19 <= np.prod(array.chunks) * 2 <= 2**21
    np.testing.assert_array_equal(array[:], voxels)
    assert (tmp_path / "a.zarr" / "0" / "1" / "0" / "0" / "0" / "0").is_file()
    attributes = json.loads((tmp_path / "a.zarr" / ".zattrs").read_text())
    assert attributes["multiscales"][0]["version"] == "0.4"
    assert len(open_volume(tmp_path / "a.zarr").levels) == 3


@pytest.mark.parametrize("compression", ["deflate", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_ome_tiff_is_read_by_another_library(tmp_path: Path, compression: Any, dtype: str) -> None:
    voxels = random_voxels((1, 2, 2, 515, 1030), dtype)
    out = tmp_path / "a.ome.tif"
    convert(volume_of(voxels, tmp_path / "source"), out, compression=compression)
    with PIL.Image.open(out) as image:
        assert image.n_frames == 4
        for frame, plane in enumerate(voxels.reshape(-1, 515, 1030)):
            image.seek(frame)
            np.testing.assert_array_equal(np.asarray(image).astype(dtype), plane)


def test_ome_tiff_holds_a_pyramid_and_valid_metadata(tmp_path: Path) -> None:
    voxels = random_voxels((2, 2, 3, 1301, 700), "uint16")
    convert(volume_of(voxels, tmp_path / "source", CALIBRATION), tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        (series,) = file.series
        assert not file.is_bigtiff
        expected = voxels.reshape(-1, 1301, 700)
        assert len(series.levels) == 3
        for level in series.levels:
            np.testing.assert_array_equal(level.asarray().reshape(expected.shape), expected)
            expected = np.stack([mean_pooled(plane[None], (1, 2, 2))[0] for plane in expected])
        page = file.pages.first
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE or page.compression.name == "DEFLATE"
        assert page.predictor == 2
        assert page.is_tiled
        pixels = ElementTree.fromstring(str(file.ome_metadata))[0].find("{*}Pixels")
    assert pixels is not None
    assert {k: pixels.get(k) for k in ("PhysicalSizeZ", "PhysicalSizeYUnit", "TimeIncrement", "DimensionOrder")} == {
        "PhysicalSizeZ": "0.5", "PhysicalSizeYUnit": "µm", "TimeIncrement": "2.5", "DimensionOrder": "XYZCT",
    }  # fmt: skip
    assert [(c.get("Name"), c.get("Color")) for c in pixels.findall("{*}Channel")] == [
        ("DAPI", str(0x0000FFFF)), ("GFP", str(0x00FF00FF)),
    ]  # fmt: skip
    planes = pixels.findall("{*}Plane")
    assert [float(plane.get("PositionZ", "nan")) for plane in planes[:3]] == [1.5, 2.0, 2.5]
    assert planes[0].get("PositionYUnit") == "µm"


def test_large_files_become_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superres.volumes.ometiff._CLASSIC_BYTES", 2**16)
    voxels = random_voxels((1, 1, 2, 300, 200), "uint8")
    convert(volume_of(voxels, tmp_path / "source"), tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_bigtiff
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / "a.ome.tif").levels[0]), voxels)


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("limit", [1, 50 * 60 * 2 * 3])
def test_planes_larger_than_what_is_held_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any, limit: int
) -> None:
    monkeypatch.setattr("superres.volumes.convert_tiff._SLAB_BYTES", limit)
    voxels = random_voxels((2, 2, 7, 50, 60), "uint16")
    volume = volume_of(voxels, tmp_path / "source", block=(1, 1, 4, 50, 60))
    convert(volume, tmp_path / f"a{FORMATS[format]}", format=format)
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / f"a{FORMATS[format]}").levels[0]), voxels)
    assert volume.finest is not None
    assert (volume.finest.inner.reads == 1).all()


# --- the type of the voxels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_rounded_and_clipped_voxels_are_counted(tmp_path: Path, format: Any) -> None:
    voxels = np.zeros((1, 2, 3, 30, 40), np.float32)
    voxels[0, 0, 0, 0, :6] = [0.5, 1.5, -1, 70000, np.inf, 7]
    out = tmp_path / f"a{FORMATS[format]}"
    summary = convert(volume_of(voxels, tmp_path / "source"), out, format=format, dtype="uint16")
    assert (summary.rounded, summary.clipped, summary.dtype) == (2, 3, "uint16")
    assert any("3 voxels lay outside uint16" in warning for warning in summary.warnings)
    back = np.asarray(open_volume(out).levels[0])
    np.testing.assert_array_equal(back[0, 0, 0, 0, :6], [0, 2, 0, 65535, 65535, 7])


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_nan_is_refused_or_replaced_and_leaves_nothing_behind(tmp_path: Path, format: Any) -> None:
    voxels = np.ones((1, 1, 3, 30, 40), np.float32)
    voxels[0, 0, 2, 3, 4] = np.nan
    out = tmp_path / f"a{FORMATS[format]}"
    volume = volume_of(voxels, tmp_path / "source")
    with pytest.raises(InputError, match=r"source.*NaN.*--set nan=0"):
        convert(volume, out, format=format, dtype="uint16")
    assert not out.is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []
    summary = convert(volume, out, format=format, dtype="uint16", nan=0, overwrite=True)
    assert summary.not_a_number == 1
    assert np.asarray(open_volume(out).levels[0])[0, 0, 2, 3, 4] == 0


@pytest.mark.parametrize(("format", "dtype"), [("ome-tiff", "float16"), ("ome-tiff", "int64"), ("imagej", "int16")])
def test_types_that_a_format_lacks_are_refused(tmp_path: Path, format: Any, dtype: str) -> None:
    out = tmp_path / f"a{FORMATS[format]}"
    with pytest.raises((InputError, OutputWriteError), match=f"knows uint8.*not {dtype}"):
        convert(volume_of(random_voxels((1, 1, 1, 8, 8), dtype), tmp_path / "source"), out, format=format)
    assert not out.exists()


def test_hyperstack_above_four_gigabytes_is_refused(tmp_path: Path) -> None:
    voxels = np.broadcast_to(np.zeros(1, np.uint16), (40, 1, 60, 1000, 1000))
    with pytest.raises(OutputWriteError, match=r"4\.8 GB.*4\.29 GB.*--format ome-tiff"):
        convert(volume_of(voxels, tmp_path / "source"), tmp_path / "a.tif")
    assert not (tmp_path / "a.tif").exists()


# --- what stands in the way ------------------------------------------------------------------------------------------


def test_the_name_tells_the_format() -> None:
    for name, format in {"a.ome.zarr": "ome-zarr-0.5", "a.zarr": "ome-zarr-0.5", "A.OME.TIF": "ome-tiff",
                         "a.ome.tiff": "ome-tiff", "a.tif": "imagej", "a.tiff": "imagej"}.items():  # fmt: skip
        assert format_of(Path(name)) == format
    with pytest.raises(InputError, match=r"a\.png.*\.ome\.zarr"):
        format_of(Path("a.png"))


@pytest.mark.parametrize(
    ("name", "format"), [("a.zarr", "ome-tiff"), ("a.tif", "ome-zarr-0.4"), ("a.ome.tif", "imagej")]
)
def test_misleading_names_are_refused(tmp_path: Path, name: str, format: Any) -> None:
    with pytest.raises(InputError, match="unusual name"):
        convert(volume_of(random_voxels((1, 1, 1, 8, 8), "uint8"), tmp_path / "source"), tmp_path / name, format=format)


def test_the_input_is_never_written_to(tmp_path: Path) -> None:
    save_hyperstack(tmp_path / "a.tif", random_voxels((1, 1, 2, 8, 8), "uint8"))
    before = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "link.tif").symlink_to(tmp_path / "a.tif")
    for out in (tmp_path / "a.tif", tmp_path / "link.tif", tmp_path / "x" / ".." / "a.tif"):
        with pytest.raises(InputError, match="never written to"):
            convert(open_volume(tmp_path / "a.tif"), out, overwrite=True, dtype="float32")
    convert(open_volume(tmp_path / "a.tif"), tmp_path / "a.zarr")
    for out in (tmp_path / "a.zarr", tmp_path / "a.zarr" / "0" / "b.zarr"):
        with pytest.raises(InputError, match="never written to"):
            convert(open_volume(tmp_path / "a.zarr"), out, overwrite=True)
    assert (tmp_path / "a.tif").read_bytes() == before
    assert verify_store(tmp_path / "a.zarr") == []


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_other_things_are_replaced_only_when_asked_for(tmp_path: Path, format: Any) -> None:
    out = tmp_path / f"a{FORMATS[format]}"
    first = volume_of(random_voxels((1, 1, 2, 30, 40), "uint8"), tmp_path / "one")
    second = volume_of(random_voxels((1, 1, 2, 30, 40), "uint8", seed=1), tmp_path / "two")
    convert(first, out, format=format)
    again = convert(first, out, format=format)
    assert again.units_done_before == again.units, "the very same is not written again"
    (tmp_path / "two").write_bytes(b"other voxels")
    with pytest.raises(OutputExistsError, match="--set overwrite=true"):
        convert(second, out, format=format)
    convert(second, out, format=format, overwrite=True)
    np.testing.assert_array_equal(np.asarray(open_volume(out).levels[0]), np.asarray(second.levels[0]))


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_precious_things_are_never_replaced(tmp_path: Path, format: Any) -> None:
    volume = volume_of(random_voxels((1, 1, 2, 30, 40), "uint8"), tmp_path / "source")
    folder, file = tmp_path / f"folder{FORMATS[format]}", tmp_path / f"file{FORMATS[format]}"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    file.write_text("precious")
    for out in (folder, file):
        with pytest.raises(OutputExistsError, match="never replaced"):
            convert(volume, out, format=format, overwrite=True)
    assert file.read_text() == (folder / "thesis.txt").read_text() == "precious"


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_cancelled_conversion_is_run_again(tmp_path: Path, format: Any) -> None:
    volume = volume_of(random_voxels((3, 2, 2, 30, 40), "uint8"), tmp_path / "source")
    out = tmp_path / f"a{FORMATS[format]}"

    def cancel(event: Progress) -> None:
        if event.done == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        convert(volume, out, format=format, progress=cancel)
    with pytest.raises(InputError):
        open_volume(out)
    events: list[Progress] = []
    summary = convert(volume, out, format=format, progress=events.append)
    if format.startswith("ome-zarr"):
        assert 2 <= summary.units_done_before < summary.units
    assert events[-1].done == events[-1].total
    np.testing.assert_array_equal(np.asarray(open_volume(out).levels[0]), np.asarray(volume.levels[0]))
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []


@pytest.mark.parametrize("format", ["ome-tiff", "imagej"])
def test_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any) -> None:
    volume = volume_of(random_voxels((1, 1, 3, 600, 40), "uint8"), tmp_path / "source")
    out = tmp_path / f"a{FORMATS[format]}"

    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OutputWriteError, match=r"a\..*the disk is full.*nothing was"):
        patch.setattr(tifffile.FileHandle, "write", no_space)
        convert(volume, out, format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    convert(volume, out, format=format)
    np.testing.assert_array_equal(np.asarray(open_volume(out).levels[0]), np.asarray(volume.levels[0]))


# --- real images -----------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize(
    "name",
    ["stack3d/chromosomes.tif", "timelapse/golgi_bfa_timelapse.tif", "em-sem-myelin/sem_myelin_2_0.13um_16bit.tif"],
)
def test_real_images_survive(data_root: Path, tmp_path: Path, name: str, format: Any) -> None:
    source = open_volume(data_root / name)
    out = tmp_path / f"a{FORMATS[format]}"
    summary = convert(source, out, format=format)
    back = open_volume(out)
    np.testing.assert_array_equal(np.asarray(back.levels[0]), np.asarray(source.levels[0]))
    assert close(back.voxel_size, source.voxel_size)
    assert (back.time_step, back.channel_names) == (source.time_step, source.channel_names)
    assert summary.warnings == ()
