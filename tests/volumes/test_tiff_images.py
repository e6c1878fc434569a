"""Several images in one TIFF, and OME-TIFF sets of several files: listed, chosen, complete, nothing from outside."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from superres.errors import InputError
from superres.volumes import Volume, open_volume
from superres.volumes.tiff import images_in_tiff, open_tiff

RNG = np.random.default_rng(0)
GREY: dict[str, Any] = {"photometric": "minisblack"}


def voxels(*shape: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return RNG.integers(0, 200, shape).astype(dtype)


def whole(volume: Volume) -> np.ndarray[Any, Any]:
    return np.squeeze(np.asarray(volume.levels[0]))


# --- several images in one file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_images_of_different_size_are_listed_and_chosen(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "two.tif"
    images = [voxels(5, 9, 7), voxels(3, 20, 30)]
    with tifffile.TiffWriter(path) as writer:
        for image in images:
            writer.write(image, metadata={"axes": "ZYX"}, compression=compression, **GREY)
    assert images_in_tiff(path) == ("0", "1")
    with pytest.raises(InputError, match=r"holds 2 images \(0: ZYX 5x9x7, 1: ZYX 3x20x30\); .*two\.tif::0'"):
        open_volume(path)
    for number, image in enumerate(images):
        volume = open_volume(f"{path}::{number}")
        assert volume.part == str(number)
        np.testing.assert_array_equal(whole(volume), image)
        np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(volume))), image)
    with pytest.raises(InputError, match="holds no image '2'"):
        open_tiff(path, part="2")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_images_of_an_ome_tiff_have_names(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "two.ome.tif"
    images = {"left eye": voxels(5, 9, 7), "right eye": voxels(5, 9, 7), "brain": voxels(2, 40, 30)}
    sizes = {"left eye": 0.1, "right eye": 0.2, "brain": 0.3}
    with tifffile.TiffWriter(path) as writer:
        for name, image in images.items():
            metadata = {"axes": "ZYX", "Name": name, "PhysicalSizeX": sizes[name], "PhysicalSizeY": sizes[name]}
            writer.write(image, metadata=metadata, compression=compression, **GREY)
    assert images_in_tiff(path) == tuple(images)
    for number, (name, image) in enumerate(images.items()):
        volume = open_volume(f"{path}::{name}")
        np.testing.assert_array_equal(whole(volume), image)
        assert volume.voxel_size == (None, sizes[name], sizes[name])
        assert open_tiff(path, part=str(number)).identity() != open_tiff(path, part="brain").identity() or number == 2


def test_thumbnails_masks_and_labels_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    image = voxels(90, 70)
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, metadata=None, **GREY)
        writer.write(image[::5, ::5], metadata=None, subfiletype=1, compression="zlib", **GREY)
        writer.write(voxels(30, 30) > 100, metadata=None, subfiletype=4, photometric="mask")
    assert images_in_tiff(path) == ()
    np.testing.assert_array_equal(whole(open_volume(path)), image)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("odd", [4, 8])
def test_a_plane_of_another_size_is_named_or_listed(tmp_path: Path, odd: int, compression: str | None) -> None:
    path = tmp_path / "odd.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in range(12):
            plane = voxels(9, 7) if number != odd else voxels(9, 6)
            writer.write(plane, metadata=None, contiguous=False, compression=compression, **GREY)
    with pytest.raises(InputError, match=r"odd\.tif: (holds 2 images|planes of different size|plane \d+ is unlike)"):
        open_volume(path, axes="ZYX").read(t=0, c=0, z=slice(0, 12), y=slice(0, 9), x=slice(0, 6))


# --- OME-TIFF sets ----------------------------------------------------------------------------------------------------

OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">'


def write_set(folder: Path, data: np.ndarray[Any, Any], names: list[str] | None = None, **options: Any) -> Path:
    """Write one file per Z, which point to a companion file, and return that."""
    names = names or [f"z{z}.ome.tif" for z in range(len(data))]
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    companion = folder / "all.companion.ome"
    companion.write_text(
        OME.format(own="all") + f'<Image ID="Image:0" Name="cell"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        f'Type="uint16" SizeX="{data.shape[2]}" SizeY="{data.shape[1]}" SizeZ="{len(data)}" SizeC="1" SizeT="1" '
        f'PhysicalSizeZ="0.5"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>',
        encoding="utf-8",
    )
    pointer = '<BinaryOnly MetadataFile="all.companion.ome" UUID="urn:uuid:all"/></OME>'
    for z, plane in enumerate(data):
        file = folder / f"z{z}.ome.tif"
        tifffile.imwrite(file, plane, description=OME.format(own=z) + pointer, metadata=None, **GREY, **options)
    return companion


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"tile": (16, 16)}])
def test_companion_and_every_part_open_the_whole_set(tmp_path: Path, options: dict[str, Any]) -> None:
    data = voxels(4, 19, 17)
    companion = write_set(tmp_path, data, **options)
    for path in (companion, tmp_path / "z0.ome.tif", tmp_path / "z3.ome.tif"):
        volume = open_volume(path)
        np.testing.assert_array_equal(whole(volume), data)
        np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(volume))), data)
        assert (volume.axes, volume.voxel_size, volume.format) == ("ZYX", (0.5, None, None), "OME-TIFF")
        assert set(volume.files) == {companion, *tmp_path.glob("z*.tif")}
    before = open_volume(companion).identity()
    os.utime(tmp_path / "z3.ome.tif", (1, 1))
    assert open_volume(companion).identity() != before


def test_missing_files_of_a_set_are_named(tmp_path: Path) -> None:
    companion = write_set(tmp_path, voxels(5, 9, 7))
    for name in ("z1.ome.tif", "z3.ome.tif"):
        (tmp_path / name).unlink()
    for path in (companion, tmp_path / "z0.ome.tif"):
        with pytest.raises(InputError, match=r"2 of 5 .* missing \(z1\.ome\.tif, z3\.ome\.tif\)"):
            open_volume(path)
    companion.unlink()
    with pytest.raises(InputError, match=r"z0\.ome\.tif.*all\.companion\.ome, which is not beside it"):
        open_volume(tmp_path / "z0.ome.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("shape", "dtype"), [((9, 8), "uint16"), ((9, 14), "uint8"), ((9, 7), "int16")])
def test_a_file_of_a_set_that_is_unlike_the_others(
    tmp_path: Path, shape: tuple[int, int], dtype: str, compression: str | None
) -> None:
    companion = write_set(tmp_path, voxels(4, 9, 7), compression=compression)
    odd = voxels(*shape).astype(dtype)
    tifffile.imwrite(tmp_path / "z2.ome.tif", odd, metadata=None, compression=compression, **GREY)
    with pytest.raises(InputError, match=r"z2\.ome\.tif: plane 2 has"):
        open_volume(companion)


@pytest.mark.parametrize(
    "name", ["../secret.tif", "/etc/secret.tif", "a/../../secret.tif", "..\\secret.tif", "C:\\s.tif"]
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    tifffile.imwrite(tmp_path / "secret.tif", voxels(9, 7), **GREY)
    companion = write_set(folder, voxels(2, 9, 7), names=["z0.ome.tif", name])
    with pytest.raises(InputError, match="outside its folder and is not opened"):
        open_volume(companion)


def test_a_renamed_ome_tiff_still_opens(tmp_path: Path) -> None:
    data = voxels(9, 7)
    xml = OME.replace(' UUID="urn:uuid:{own}"', "") + (
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="7" SizeY="9" SizeZ="1" '
        'SizeC="1" SizeT="1"><TiffData IFD="0"><UUID FileName="old.ome.tif">urn:uuid:1</UUID></TiffData></Pixels>'
        "</Image></OME>"
    )
    tifffile.imwrite(tmp_path / "new.ome.tif", data, description=xml, metadata=None, **GREY)
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "new.ome.tif")), data)


@pytest.mark.parametrize(
    "declared", ['SizeZ="2"', 'SizeZ="x"', 'SizeZ="99999999999"', 'SizeZ="5000000" PlaneCount="9"']
)
def test_absurd_ome_xml_is_refused(tmp_path: Path, declared: str) -> None:
    companion = write_set(tmp_path, voxels(2, 9, 7))
    text = companion.read_text(encoding="utf-8")
    companion.write_text(text.replace('SizeZ="2"', declared) if "x" in declared or "9" in declared else text[:-60])
    with pytest.raises(InputError, match=r"all\.companion\.ome"):
        open_volume(companion)


def test_colours_can_be_channels_in_every_plane_arrangement(tmp_path: Path) -> None:
    data = voxels(4, 12, 10, 3, dtype="uint8")
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, data, photometric="rgb", metadata={"axes": "ZYXS"}, compression="zlib")
    with pytest.raises(InputError, match=r"RGB.*axes=ZYXC"):
        open_volume(path)
    np.testing.assert_array_equal(
        open_volume(path, axes="ZYXC").read(t=0, c=1, z=slice(1, 3), y=slice(2, 9), x=slice(3, 10)),
        data[1:3, 2:9, 3:10, 1],
    )


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_positions_within_one_series_are_images(tmp_path: Path, options: dict[str, Any]) -> None:
    data = voxels(3, 4, 19, 17)
    path = tmp_path / "positions.tif"
    tifffile.imwrite(path, data, metadata={"axes": "RZYX"}, **GREY, **options)
    assert images_in_tiff(path) == ("0", "1", "2")
    with pytest.raises(InputError, match="holds 3 images"):
        open_volume(path)
    volume = open_volume(f"{path}::1")
    assert volume.axes == "ZYX"
    np.testing.assert_array_equal(whole(volume), data[1])
    block = pickle.loads(pickle.dumps(volume)).read(t=0, c=0, z=slice(1, 3), y=slice(2, 9), x=slice(3, 17))
    np.testing.assert_array_equal(block, data[1, 1:3, 2:9, 3:17])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_in_turn_that_break_off(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "cut.tif"
    with tifffile.TiffWriter(path) as writer:
        for plane in voxels(12, 30, 40):
            writer.write(plane, metadata=None, contiguous=False, compression=compression, **GREY)
    with tifffile.TiffFile(path) as file:
        ends = [page.dataoffsets[-1] + page.databytecounts[-1] for page in file.pages]
    content = path.read_bytes()
    for end in {*ends[:-1], len(content) // 2, ends[-1] - 1}:
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match=r"cut\.tif"):
            open_volume(path, axes="ZYX").read(t=0, c=0, z=slice(0, 12), y=slice(0, 30), x=slice(0, 40))
