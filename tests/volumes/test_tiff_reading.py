"""TIFF, PNG and JPEG: what was written is what is read, lazily, and nothing is guessed."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import struct
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from superres.errors import InputError, MissingFileError
from superres.volumes import Volume, open_volume

RNG = np.random.default_rng(0)
LAZY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32"]


def some_voxels(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return RNG.integers(0, 100, shape).astype(dtype)


def as_tczyx(data: np.ndarray[Any, Any], axes: str) -> np.ndarray[Any, Any]:
    """Bring data to TCZYX by a way of its own: move each axis to its place, one by one."""
    for letter in "TCZYX":
        if letter not in axes:
            data, axes = data[None], letter + axes
    return np.moveaxis(data, [axes.index(letter) for letter in "TCZYX"], range(5))


IMAGEJ = {"spacing": 0.5, "unit": "um", "finterval": 2.5}
OME = {
    "PhysicalSizeX": 65.0,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeY": 0.1,
    "PhysicalSizeYUnit": "µm",
    "PhysicalSizeZ": 0.0005,
    "PhysicalSizeZUnit": "mm",
    "TimeIncrement": 500.0,
    "TimeIncrementUnit": "ms",
    "Channel": {"Name": ["DAPI", "GFP"]},
}
UNKNOWN = (None, None, None)

# name, shape, axes, arguments of imwrite, voxel size, time step, channel names, format
WRITTEN: list[Any] = [
    pytest.param("YX", (9, 7), {}, UNKNOWN, None, (), "TIFF", id="plane"),
    pytest.param("YX", (9, 7), {"byteorder": ">"}, UNKNOWN, None, (), "TIFF", id="big-endian"),
    pytest.param("YX", (9, 7), {"byteorder": ">", "compression": "zlib"}, UNKNOWN, None, (), "TIFF", id="big-zlib"),
    pytest.param("YX", (1, 40), {}, UNKNOWN, None, (), "TIFF", id="one row"),
    pytest.param(
        "ZYX",
        (3, 9, 7),
        {"metadata": {"axes": "ZYX"}, "resolution": (1e5, 5e4), "resolutionunit": "CENTIMETER"},
        (None, 0.2, 0.1),
        None,
        (),
        "TIFF",
        id="centimetre",
    ),
    pytest.param("YX", (9, 7), {"resolution": (96, 96), "resolutionunit": "INCH"}, UNKNOWN, None, (), "TIFF", id="dpi"),
    pytest.param("YX", (9, 7), {"resolution": (10, 10)}, UNKNOWN, None, (), "TIFF", id="resolution without unit"),
    pytest.param(
        "TZCYX",
        (2, 3, 2, 9, 7),
        {"imagej": True, "metadata": {"axes": "TZCYX", **IMAGEJ}, "resolution": (10, 5)},
        (0.5, 0.2, 0.1),
        2.5,
        (),
        "ImageJ TIFF",
        id="imagej",
    ),
    pytest.param(
        "ZCYX",
        (3, 2, 9, 7),
        {
            "imagej": True,
            "metadata": {"axes": "ZCYX", "unit": "\\u00B5m", "Labels": ["DAPI", "GFP"] * 3},
            "resolution": (4, 4),
        },
        (None, 0.25, 0.25),
        None,
        ("DAPI", "GFP"),
        "ImageJ TIFF",
        id="imagej labels",
    ),
    pytest.param(
        "ZYX",
        (3, 9, 7),
        {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "pixel"}, "resolution": (1, 1)},
        UNKNOWN,
        None,
        (),
        "ImageJ TIFF",
        id="imagej pixels",
    ),
    pytest.param(
        "ZYX",
        (3, 9, 7),
        {"imagej": True, "metadata": {"axes": "ZYX", "spacing": -1e-3, "unit": "mm"}, "resolution": (1e4, 1e4)},
        (1.0, 0.1, 0.1),
        None,
        (),
        "ImageJ TIFF",
        id="imagej millimetre downwards",
    ),
    pytest.param(
        "TCZYX",
        (2, 2, 3, 9, 7),
        {"ome": True, "metadata": {"axes": "TCZYX", **OME}},
        (0.5, 0.1, 0.065),
        0.5,
        ("DAPI", "GFP"),
        "OME-TIFF",
        id="ome",
    ),
    pytest.param(
        "CZYX",
        (2, 3, 9, 7),
        {"ome": True, "metadata": {"axes": "CZYX"}, "compression": "zstd", "predictor": True},
        UNKNOWN,
        None,
        (),
        "OME-TIFF",
        id="ome zstd",
    ),
    pytest.param(
        "ZYX",
        (3, 70, 90),
        {"metadata": {"axes": "ZYX"}, "tile": (16, 32), "compression": "lzw"},
        UNKNOWN,
        None,
        (),
        "TIFF",
        id="tiled lzw",
    ),
    pytest.param(
        "ZYX",
        (3, 70, 90),
        {"metadata": {"axes": "ZYX"}, "rowsperstrip": 16, "compression": "zlib"},
        UNKNOWN,
        None,
        (),
        "TIFF",
        id="strips",
    ),
    pytest.param(
        "ZYX",
        (3, 70, 90),
        {"metadata": {"axes": "ZYX"}, "bigtiff": True, "tile": (32, 32)},
        UNKNOWN,
        None,
        (),
        "TIFF",
        id="bigtiff tiles",
    ),
]


@pytest.mark.parametrize(("axes", "shape", "arguments", "voxel_size", "time_step", "names", "kind"), WRITTEN)
def test_what_was_written_is_read(
    tmp_path: Path,
    axes: str,
    shape: tuple[int, ...],
    arguments: dict[str, Any],
    voxel_size: Any,
    time_step: float | None,
    names: tuple[str, ...],
    kind: str,
) -> None:
    data = some_voxels(shape)
    path = tmp_path / ("image.ome.tif" if arguments.get("ome") else "image.tif")
    tifffile.imwrite(path, data, **{"photometric": "minisblack", **arguments})
    volume = open_volume(path)
    assert volume.format == kind
    assert volume.axes == axes
    assert volume.dtype == np.uint16
    assert volume.dtype.isnative
    for found, expected in zip(volume.voxel_size, voxel_size, strict=True):
        assert found == (None if expected is None else pytest.approx(expected, rel=1e-6))
    assert volume.time_step == time_step
    assert volume.channel_names == names
    assert volume.translation == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(np.asarray(volume.levels[0]), as_tczyx(data, axes))
    assert_reads_like_its_level(volume)


def assert_reads_like_its_level(volume: Volume) -> None:
    whole = np.asarray(volume.levels[0])
    for _ in range(6):
        t, c = RNG.integers(0, volume.shape[0]), RNG.integers(0, volume.shape[1])
        z, y, x = (slice(*sorted(map(int, RNG.integers(0, n + 3, 2)))) for n in volume.shape[2:])
        block = volume.read(t=int(t), c=int(c), z=z, y=y, x=x)
        np.testing.assert_array_equal(block, whole[t, c, z, y, x])
        assert block.dtype == volume.dtype


@LAZY
@given(data=st.data())
def test_any_shape_dtype_and_layout(tmp_path: Path, data: st.DataObject) -> None:
    axes = data.draw(st.sampled_from(["YX", "ZYX", "CZYX", "TZCYX"]))
    shape = tuple(data.draw(st.integers(1, 4)) for _ in axes[:-2])
    # tifffile writes compressed images of width 1 with Y along X.
    shape += (data.draw(st.integers(1, 40)), data.draw(st.integers(2, 40)))
    layout = data.draw(
        st.sampled_from([{}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"compression": "zlib"}, {"byteorder": ">"}])
    )
    voxels = some_voxels(shape, data.draw(st.sampled_from(DTYPES)))
    path = tmp_path / "any.tif"
    tifffile.imwrite(path, voxels, photometric="minisblack", metadata={"axes": axes}, **layout)
    volume = open_volume(path)
    assert volume.dtype == voxels.dtype
    np.testing.assert_array_equal(np.asarray(volume.levels[0]), as_tczyx(voxels, axes))
    assert_reads_like_its_level(volume)


def test_pyramid_levels(tmp_path: Path) -> None:
    data = some_voxels((3, 64, 96))
    path = tmp_path / "pyramid.ome.tif"
    options: dict[str, Any] = {"tile": (16, 16), "photometric": "minisblack", "compression": "zlib"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(data, subifds=2, metadata={"axes": "ZYX"}, **options)
        writer.write(data[:, ::2, ::2], subfiletype=1, **options)
        writer.write(data[:, ::4, ::4], subfiletype=1, **options)
    volume = open_volume(path)
    assert [level.shape for level in volume.levels] == [(1, 1, 3, 64, 96), (1, 1, 3, 32, 48), (1, 1, 3, 16, 24)]
    for level, step in zip(volume.levels, (1, 2, 4), strict=True):
        np.testing.assert_array_equal(np.asarray(level)[0, 0], data[:, ::step, ::step])


def write_ome_set(folder: Path, data: np.ndarray[Any, Any]) -> Path:
    """Write one OME-TIFF file per Z, every one with the metadata of the whole."""
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="z{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in range(len(data))
    )
    for z, plane in enumerate(data):
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="{data.shape[2]}" SizeY="{data.shape[1]}" SizeZ="{len(data)}" SizeC="1" SizeT="1" '
            f'PhysicalSizeZ="0.5"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(folder / f"z{z}.ome.tif", plane, description=xml, metadata=None, compression="zlib")
    return folder / "z0.ome.tif"


def test_multi_file_ome(tmp_path: Path) -> None:
    data = some_voxels((4, 9, 7))
    volume = open_volume(write_ome_set(tmp_path, data))
    np.testing.assert_array_equal(np.asarray(volume.levels[0])[0, 0], data)
    assert volume.voxel_size == (0.5, None, None)
    before = volume.identity()
    os.utime(tmp_path / "z3.ome.tif", (1, 1))
    assert volume.identity() != before


def test_multi_file_ome_with_a_file_missing(tmp_path: Path) -> None:
    path = write_ome_set(tmp_path, some_voxels((4, 9, 7)))
    (tmp_path / "z2.ome.tif").unlink()
    with pytest.raises(InputError, match=r"z2\.ome\.tif"):
        open_volume(path)


def test_part_of_a_set_with_companion_is_refused(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
        '<BinaryOnly MetadataFile="all.companion.ome" UUID="urn:uuid:2"/></OME>'
    )
    path = tmp_path / "z1.ome.tif"
    tifffile.imwrite(path, some_voxels((9, 7)), description=xml, metadata=None)
    with pytest.raises(InputError, match=r"all\.companion\.ome"):
        open_volume(path)


# --- axes and voxel size ---------------------------------------------------------------------------------------------


def test_ambiguous_axes_say_what_to_type(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    data = some_voxels((5, 9, 7))
    tifffile.imwrite(path, data, photometric="minisblack")
    with pytest.raises(InputError, match=r"stack\.tif.*found QYX, shape 5x9x7.*--set axes=ZYX"):
        open_volume(path)
    np.testing.assert_array_equal(np.asarray(open_volume(path, axes="tyx").levels[0])[:, 0, 0], data)
    assert open_volume(path, axes="ZYX").shape == (1, 1, 5, 9, 7)


@pytest.mark.parametrize("axes", ["YX", "TCZYX", "ZZX", "ZYQ", "TCZ"])
def test_unusable_axes_are_refused(tmp_path: Path, axes: str) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, some_voxels((5, 9, 7)), photometric="minisblack")
    with pytest.raises(InputError, match=f"axes={axes}.*5x9x7"):
        open_volume(path, axes=axes)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_is_refused_but_can_be_channels(tmp_path: Path, planar: str) -> None:
    data = some_voxels((20, 30, 3), "uint8")
    path = tmp_path / "colour.tif"
    written = data if planar == "contig" else data.transpose(2, 0, 1)
    tifffile.imwrite(path, written, photometric="rgb", planarconfig=planar, compression="zlib")
    axes = "YXC" if planar == "contig" else "CYX"
    with pytest.raises(InputError, match=f"3 samples per pixel.*RGB.*one intensity per voxel.*axes={axes}"):
        open_volume(path)
    volume = open_volume(path, axes=axes)
    assert volume.axes == axes
    np.testing.assert_array_equal(np.asarray(volume.levels[0])[0, :, 0], data.transpose(2, 0, 1))
    assert_reads_like_its_level(volume)


def test_palette_colours_are_refused_unless_they_only_show_intensity(tmp_path: Path) -> None:
    data = some_voxels((20, 30), "uint8")
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(tmp_path / "ramp.tif", data, photometric="palette", colormap=ramp)
    tifffile.imwrite(tmp_path / "random.tif", data, photometric="palette", colormap=RNG.permuted(ramp, axis=1))
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / "ramp.tif").levels[0])[0, 0, 0], data)
    with pytest.raises(InputError, match="palette"):
        open_volume(tmp_path / "random.tif")


def test_what_is_no_intensity_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", some_voxels((8, 8)).astype("complex64"))
    with pytest.raises(InputError, match="complex64"):
        open_volume(tmp_path / "a.tif")


def test_given_voxel_size_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, some_voxels((9, 7)), imagej=True, metadata={"unit": "um"}, resolution=(10, 10))
    assert open_volume(path, voxel_size=(0.3, 0.2, 0.1)).voxel_size == (0.3, 0.2, 0.1)
    for wrong in [(0.1, 0.1), (0.0, 1.0, 1.0), (1.0, 1.0, float("nan"))]:
        with pytest.raises(InputError, match="voxel_size"):
            open_volume(path, voxel_size=wrong)


# --- damaged files ---------------------------------------------------------------------------------------------------


def test_missing_file() -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.tif"):
        open_volume("nowhere.tif")


TRUNCATED: list[Any] = [
    pytest.param({"imagej": True, "metadata": {"axes": "TZCYX"}}, id="imagej"),
    pytest.param({"ome": True, "metadata": {"axes": "TZCYX"}}, id="ome"),
    pytest.param({"ome": True, "metadata": {"axes": "TZCYX"}, "compression": "zlib"}, id="ome zlib"),
    pytest.param({"metadata": {"axes": "TZCYX"}}, id="shaped"),
    pytest.param({"metadata": {"axes": "TZCYX"}, "tile": (16, 16), "compression": "zlib"}, id="tiled"),
    pytest.param({"metadata": {"axes": "TZCYX"}, "bigtiff": True}, id="bigtiff"),
]


@pytest.mark.parametrize("arguments", TRUNCATED)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_truncated_file_is_refused_on_opening_or_complete(
    tmp_path: Path, arguments: dict[str, Any], share: float
) -> None:
    path = tmp_path / "a.tif"
    noise = RNG.integers(0, 60000, (3, 4, 2, 32, 40)).astype(np.uint16)
    tifffile.imwrite(path, noise, photometric="minisblack", **arguments)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    # ImageJ keeps all voxels before the headers of further planes, which are not needed.
    if arguments.get("imagej") and share > 0.9:
        np.testing.assert_array_equal(np.asarray(open_volume(path).levels[0]), as_tczyx(noise, "TZCYX"))
        return
    with pytest.raises(InputError, match=r"a\.tif"):
        open_volume(path)


def test_damaged_block_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    noise = RNG.integers(0, 60000, (4, 32, 40)).astype(np.uint16)
    tifffile.imwrite(path, noise, metadata={"axes": "ZYX"}, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[2].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read(t=0, c=0, z=slice(0, 2), y=slice(None), x=slice(None)), noise[:2])
    with pytest.raises(InputError, match="plane 2"):
        volume.read(t=0, c=0, z=slice(2, 3), y=slice(None), x=slice(None))


def test_file_changed_after_opening_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, some_voxels((90, 70)))
    volume = open_volume(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="changed"):
        volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 90), x=slice(0, 70))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_opens_or_is_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged.tif"
    compression = data.draw(st.sampled_from([None, "zlib", "lzw"]))
    tifffile.imwrite(
        path,
        np.arange(3 * 24 * 20, dtype=np.uint16).reshape(3, 24, 20),
        compression=compression,
        photometric="minisblack",
    )
    content = bytearray(path.read_bytes())
    head = [*range(400), *range(len(content) - 300, len(content))]
    for position in data.draw(st.lists(st.sampled_from(head), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        volume = open_volume(path, axes="ZYX")
        volume.read(t=0, c=0, z=slice(0, 3), y=slice(0, 8), x=slice(0, 8))
    except InputError as error:
        assert "damaged.tif" in str(error)


def test_huge_declared_size_does_not_allocate(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, some_voxels((16, 16)), compression="zlib", rowsperstrip=16, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageLength", "RowsPerStrip", "ImageWidth"):
            tag = file.pages[0].tags[name]
            tag.overwrite(1_000_000_000 if tag.dtype == 4 else 65535)
    with pytest.raises(InputError, match=r"huge\.tif"):
        volume = open_volume(path)
        volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 1), x=slice(0, 1))


@pytest.mark.parametrize("content", [b"", b"hello world", b"II*\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing.tif"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"thing\.tif"):
        open_volume(path)


def test_lsm_tag_left_in_a_plain_file(tmp_path: Path) -> None:
    data = some_voxels((9, 7), "uint8")
    path = tmp_path / "was_lsm.tif"
    extra = [(34412, 7, 12, struct.pack("<III", 0x00400494, 12, 7), True)]
    tifffile.imwrite(path, data, compression="zlib", extratags=extra, metadata=None)
    np.testing.assert_array_equal(np.asarray(open_volume(path).levels[0])[0, 0, 0], data)


# --- planes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png(tmp_path: Path, dtype: str) -> None:
    data = RNG.integers(0, np.iinfo(dtype).max, (31, 17)).astype(dtype)
    iio.imwrite(tmp_path / "a.png", data)
    volume = open_volume(tmp_path / "a.png")
    assert (volume.format, volume.axes, volume.dtype, volume.voxel_size) == ("PNG", "YX", np.dtype(dtype), UNKNOWN)
    np.testing.assert_array_equal(np.asarray(volume.levels[0])[0, 0, 0], data)
    assert_reads_like_its_level(volume)


def test_png_of_one_bit_and_of_a_palette(tmp_path: Path) -> None:
    data = RNG.random((31, 17)) > 0.5
    Image.fromarray(data).save(tmp_path / "bits.png")
    volume = open_volume(tmp_path / "bits.png")
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(volume.levels[0])[0, 0, 0], data)
    palette = Image.fromarray(some_voxels((31, 17), "uint8")).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.putpalette(RNG.integers(0, 255, 768).astype(np.uint8).tobytes())
    palette.save(tmp_path / "palette.png")
    with pytest.raises(InputError, match="RGB"):
        open_volume(tmp_path / "palette.png")


def test_plane_changed_after_opening(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    iio.imwrite(path, some_voxels((31, 17), "uint8"))
    volume = open_volume(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=r"a\.png: changed since it was opened"):
        volume.read(**CORNER)


def test_coloured_png_and_jpeg(tmp_path: Path) -> None:
    data = some_voxels((31, 17, 3), "uint8")
    for name in ("a.png", "a.jpg"):
        iio.imwrite(tmp_path / name, data)
        with pytest.raises(InputError, match=r"RGB.*axes=YXC"):
            open_volume(tmp_path / name)
        assert open_volume(tmp_path / name, axes="YXC").shape == (1, 3, 1, 31, 17)
    np.testing.assert_array_equal(
        np.asarray(open_volume(tmp_path / "a.png", axes="YXC").levels[0])[0, :, 0], data.transpose(2, 0, 1)
    )


def test_truncated_png_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    iio.imwrite(path, RNG.integers(0, 255, (64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"a\.png"):
        open_volume(path).read(t=0, c=0, z=slice(0, 1), y=slice(0, 4), x=slice(0, 4))


def test_plane_too_large_for_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iio.imwrite(tmp_path / "a.png", some_voxels((64, 64), "uint8"))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="convert it to TIFF"):
        open_volume(tmp_path / "a.png")


# --- laziness, pickling, identity ------------------------------------------------------------------------------------


CORNER: Any = {"t": 0, "c": 0, "z": slice(0, 2), "y": slice(0, 8), "x": slice(0, 8)}


def test_opening_reads_headers_only(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tifffile.imwrite(path, shape=(64, 4096, 4096), dtype=np.uint16, metadata={"axes": "ZYX"}, bigtiff=True)
    volume = open_volume(path)
    assert volume.shape == (1, 1, 64, 4096, 4096)
    assert not volume.read(**CORNER).any()


def test_pickled_volumes_read_in_a_spawned_process(tmp_path: Path) -> None:
    data = some_voxels((3, 40, 50))
    options: dict[str, Any] = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "plain.tif", data, **options)
    tifffile.imwrite(tmp_path / "tiled.tif", data, tile=(16, 16), compression="zlib", **options)
    iio.imwrite(tmp_path / "plane.png", data[0])
    volumes = [open_volume(tmp_path / name) for name in ("plain.tif", "tiled.tif", "plane.png")]
    for volume in volumes:
        volume.read(**CORNER)  # an opened handle must not travel
    # Submitted as bound methods of the library, because a spawned process cannot import this file.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        corners = [pool.submit(volume.read, **CORNER).result(timeout=60) for volume in volumes]
    for corner, depth in zip(corners, (2, 2, 1), strict=True):
        np.testing.assert_array_equal(corner, data[:depth, :8, :8])
    again = pickle.loads(pickle.dumps(volumes[1]))
    np.testing.assert_array_equal(np.asarray(again.levels[0]), np.asarray(volumes[1].levels[0]))


def test_identity_follows_content_and_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, some_voxels((5, 9, 7)), photometric="minisblack")
    first = open_volume(path, axes="ZYX").identity()
    assert first == open_volume(path, axes="ZYX").identity()
    assert first != open_volume(path, axes="TYX").identity()
    tifffile.imwrite(path, some_voxels((5, 9, 7)), photometric="minisblack", compression="zlib")
    assert first != open_volume(path, axes="ZYX").identity()
