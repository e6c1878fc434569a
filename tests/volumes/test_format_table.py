"""The table of formats (superres/volumes/FORMATS.md) is what opening a small file of every kind shows.

Write it anew with ``SUPERRES_WRITE_TABLE=1 python -m pytest tests/volumes/test_format_table.py``.
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import imageio.v3 as iio
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from superres.errors import InputError
from superres.volumes import open_volume, vendor
from superres.volumes.conversion import Format
from superres.volumes.convert import convert
from superres.volumes.opening import list_images
from superres.volumes.tiff import _NAMES

TABLE = Path(__file__).parents[2] / "superres" / "volumes" / "FORMATS.md"
DATA = np.random.default_rng(0).integers(0, 60_000, (2, 2, 3, 40, 50)).astype(np.uint16)
GREY: dict[str, Any] = {"photometric": "minisblack"}
UNKNOWN = (None, None, None)
SIZE = (0.5, 0.1, 0.2)
Reader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: how a small file of the kind is made, what must come out, and what is said about it.

    `make` returns what to open and its voxels; `other` reads the same by another library, named in `others`.
    """

    name: str
    make: Callable[[Path], tuple[str | Path, np.ndarray[Any, Any]]]
    axes: str
    size: tuple[float | None, ...]
    axes_from: str
    size_from: str
    lazily: str
    others: str
    other: Reader | None = None
    images: int = 0
    needs: str = ""
    given: str | None = None


def maker(file: str) -> ModuleType:
    """Load a test module beside this one, for the files that it makes."""
    specification = importlib.util.spec_from_file_location(f"made_by_{file}", Path(__file__).with_name(f"{file}.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def plain(folder: Path) -> tuple[Path, Any]:
    tifffile.imwrite(
        folder / "a.tif", DATA[0, 0, 0], metadata=None, tile=(16, 16), compression="zstd", predictor=True,
        resolution=(5e4, 1e5), resolutionunit="CENTIMETER", **GREY,
    )  # fmt: skip
    return folder / "a.tif", DATA[0, 0, 0]


def source(folder: Path) -> Any:
    """Return a volume with everything that can be known."""
    tifffile.imwrite(
        folder / "source.ome.tif", DATA, ome=True, **GREY,
        metadata={"axes": "TCZYX", "PhysicalSizeZ": 0.5, "PhysicalSizeY": 0.1, "PhysicalSizeX": 0.2,
                  "TimeIncrement": 3.0, "Channel": {"Name": ["DAPI", "007"]}},
    )  # fmt: skip
    return open_volume(folder / "source.ome.tif")


def converted(name: str, format: Any = None) -> Callable[[Path], tuple[Path, Any]]:
    def make(folder: Path) -> tuple[Path, Any]:
        convert(source(folder), folder / name, format=format)
        back = open_volume(folder / name)
        assert (back.channel_names, back.time_step) == (("DAPI", "007"), 3.0)
        return folder / name, DATA

    return make


def ome_set(folder: Path) -> tuple[Path, Any]:
    return maker("test_tiff_images").write_set(folder, DATA[0, 0]), DATA[0, 0]


def series(folder: Path) -> tuple[str, Any]:
    for z, plane in enumerate(DATA[0, 0]):
        tifffile.imwrite(folder / f"scan_z{z}.tif", plane, metadata=None, **GREY)
    return str(folder / "scan_z*.tif"), DATA[0, 0]


def ndtiff(folder: Path) -> tuple[Path, Any]:
    made = maker("test_ndtiff_reading")
    return made.write_ndtiff(folder / "set", made.planes_of(DATA, ("DAPI", "GFP"))), DATA


def plate(folder: Path) -> tuple[str, Any]:
    made = maker("test_zarr_containers")
    made.set_ome(folder / "p.zarr", {"plate": {"wells": [{"path": "B/3"}]}}, "0.5")
    made.set_ome(folder / "p.zarr" / "B" / "3", {"well": {"images": [{"path": "0"}, {"path": "1"}]}}, "0.5")
    for field in range(2):
        made.write_image(folder / "p.zarr" / "B" / "3" / str(field), field)
    return f"{folder / 'p.zarr'}::B/3/1", np.ones((2, 16, 16), np.uint16)


def bioformats(folder: Path) -> tuple[str, Any]:
    made = maker("test_zarr_containers")
    zarr.open_group(folder / "b.zarr", mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    for number in range(2):
        made.write_image(folder / "b.zarr" / str(number), number, version="0.4")
    return f"{folder / 'b.zarr'}::1", np.ones((2, 16, 16), np.uint16)


def zipped(folder: Path) -> tuple[Path, Any]:
    store, data = converted("a.ome.zarr")(folder)
    with zipfile.ZipFile(folder / "a.ome.zarr.zip", "w") as file:
        for path in sorted(store.rglob("*")):
            file.write(path, path.relative_to(store))
    return folder / "a.ome.zarr.zip", data


def bare_zarr(version: Any) -> Callable[[Path], tuple[Path, Any]]:
    def make(folder: Path) -> tuple[Path, Any]:
        zarr.create_array(folder / "a.zarr", data=DATA[0, 0], chunks=(1, 16, 16), zarr_format=version)
        return folder / "a.zarr", DATA[0, 0]

    return make


def numpy_file(folder: Path) -> tuple[Path, Any]:
    np.save(folder / "a.npy", DATA[0, 0])
    return folder / "a.npy", DATA[0, 0]


def picture(name: str) -> Callable[[Path], tuple[Path, Any]]:
    def make(folder: Path) -> tuple[Path, Any]:
        iio.imwrite(folder / name, (DATA[0, 0, 0] >> 8).astype(np.uint8))
        return folder / name, iio.imread(folder / name)

    return make


def hdf5(folder: Path) -> tuple[str, Any]:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        for name in ("raw", "other"):
            data = file.create_dataset(f"volumes/{name}", data=DATA[0, 0], chunks=(1, 16, 16), compression="gzip")
            data.attrs["element_size_um"] = SIZE
            for axis, letter in enumerate("zyx"):
                data.dims[axis].label = letter
    return f"{folder / 'a.h5'}::volumes/raw", DATA[0, 0]


def read_hdf5(path: str) -> Any:
    import h5py

    with h5py.File(path.partition("::")[0]) as file:
        return file["volumes/raw"][()]


def imaris(folder: Path) -> tuple[Path, Any]:
    import h5py

    return folder / "a.ims", maker("test_hdf5").write_imaris(h5py, folder / "a.ims")


def pillow(path: str) -> Any:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def all_frames(path: str) -> Any:
    """Read the pages of a TIFF by Pillow, in the order of an ImageJ hyperstack: T, Z, C."""
    with PIL.Image.open(path) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image))
    return np.stack(frames).reshape(2, 3, 2, 40, 50).swapaxes(1, 2)


def by_plane(pattern: str) -> Reader:
    """Read the files beside a path one by one."""
    return lambda path: np.stack([tifffile.imread(p, is_ome=False) for p in sorted(Path(path).parent.glob(pattern))])


def by_zarr(key: str) -> Reader:
    return lambda path: zarr.open_array(f"{path.partition('::')[0]}/{key}", mode="r")[...]


def by_zarr_zipped(path: str) -> Any:
    with zarr.storage.ZipStore(path, mode="r") as store:
        return zarr.open_group(store, mode="r")["0"][...]  # type: ignore[index]


STRIPS = "strips or tiles; uncompressed: any bytes"
CHUNKS = "chunks"
KINDS = (
    Kind("TIFF, BigTIFF (tiled, strips, planar, big-endian; 1 to 64 bits, float; every codec of imagecodecs)", plain,
         "YX", (None, 0.1, 0.2), "pages: asked for, unless one plane", "resolution tags in cm or inch, Z unknown",
         STRIPS, "tifffile, Pillow", tifffile.imread),
    Kind("ImageJ hyperstack (also > 4 GB)", converted("a.tif"), "TZCYX", SIZE, "ImageJ's description",
         "ImageJ's unit and spacing", STRIPS, "Pillow, tifffile, Fiji", all_frames),
    Kind("OME-TIFF (one file; pyramids)", converted("a.ome.tif"), "TCZYX", SIZE, "OME-XML", "OME-XML", STRIPS,
         "tifffile, Pillow, Bio-Formats (Fiji, QuPath)", tifffile.imread),
    Kind("OME-TIFF set (several files, companion)", ome_set, "ZYX", (0.5, None, None), "OME-XML", "OME-XML", STRIPS,
         "tifffile, Bio-Formats", by_plane("z*.tif")),
    Kind("Series of TIFF, PNG or JPEG by a pattern (`'scan_z*.tif'`, `'t*/cell_*.tif'`)", series, "ZYX", UNKNOWN,
         "z, t, c in the names", "the members", "the members' strips or tiles", "tifffile",
         by_plane("scan_z*.tif")),
    Kind("NDTiff 2, 3 (Micro-Manager, Pycro-Manager)", ndtiff, "TCZYX", (0.4, 0.25, 0.25), "index",
         "metadata of planes", "any bytes", "ndtiff"),
    Kind("OME-Zarr 0.5 (Zarr 3, sharded)", converted("a.ome.zarr"), "TCZYX", SIZE, "metadata", "metadata", CHUNKS,
         "zarr-python, tensorstore, napari-ome-zarr", by_zarr("0")),
    Kind("OME-Zarr 0.1 to 0.4 (Zarr 2)", converted("b.ome.zarr", "ome-zarr-0.4"), "TCZYX", SIZE, "metadata", "metadata",
         CHUNKS, "zarr-python, tensorstore, napari-ome-zarr", by_zarr("0")),
    Kind("OME-Zarr in a zip file", zipped, "TCZYX", SIZE, "metadata", "metadata", CHUNKS, "zarr-python",
         by_zarr_zipped),
    Kind("OME-Zarr plate (HCS)", plate, "ZYX", (1.0, 0.5, 0.5), "metadata", "metadata", CHUNKS, "zarr-python",
         by_zarr("B/3/1/0"), images=2),
    Kind("bioformats2raw layout", bioformats, "ZYX", (1.0, 0.5, 0.5), "metadata", "metadata", CHUNKS, "zarr-python",
         by_zarr("1/0"), images=2),
    Kind("Zarr 2 array", bare_zarr(2), "ZYX", UNKNOWN, "asked for", "asked for", CHUNKS, "zarr-python",
         by_zarr(""), given="ZYX"),
    Kind("Zarr 3 array", bare_zarr(3), "ZYX", UNKNOWN, "dimension_names, or asked for", "asked for", CHUNKS,
         "zarr-python", by_zarr(""), given="ZYX"),
    Kind("HDF5 data set", hdf5, "ZYX", SIZE, "labels of dimensions, axistags", "element_size_um", CHUNKS, "h5py",
         read_hdf5, images=2, needs="h5py"),
    Kind("Imaris 5.5", imaris, "TCZYX", (0.5, 0.1, 0.2), "layout", "extent", CHUNKS, "Imaris", needs="h5py"),
    Kind("NumPy .npy", numpy_file, "ZYX", UNKNOWN, "asked for, unless two axes", "asked for", "any bytes", "NumPy",
         np.load, given="ZYX"),
    Kind("PNG", picture("a.png"), "YX", UNKNOWN, "one plane", "asked for", "whole plane", "Pillow", pillow),
    Kind("JPEG (grey)", picture("a.jpg"), "YX", UNKNOWN, "one plane", "asked for", "whole plane", "Pillow", pillow),
)  # fmt: skip
WRITTEN = {
    "ImageJ": "imagej", "OME-TIFF (one": "ome-tiff", "OME-Zarr 0.5": "ome-zarr-0.5", "OME-Zarr 0.1": "ome-zarr-0.4",
}  # fmt: skip


def row(kind: Kind) -> str:
    written = next((f"`{name}`" for start, name in WRITTEN.items() if kind.name.startswith(start)), "")
    parts = "`FILE::NAME`" if kind.images else ""
    name = kind.name + (f", with the package {kind.needs}" if kind.needs else "")
    compared, *others = kind.others.split(", ")
    opens = ", ".join([f"**{compared}**" if kind.other is not None else compared, *others])
    cells = (name, kind.axes, kind.axes_from, kind.size_from, parts, kind.lazily, written, opens)
    return f"| {' | '.join(cells)} |"


def table() -> str:
    heads = ("format", "axes (sample)", "axes from", "voxel size from", "one of several images", "read at a time",
             "`superres convert` writes it", "also opens in")  # fmt: skip
    makers = {one.name: one for one in vars(vendor).values() if isinstance(one, vendor.Vendor)}
    by_package: dict[tuple[str, str], list[str]] = {}
    for one in makers.values():
        by_package.setdefault((one.package, one.licence), []).append(one.name)
    dialects = sorted(set(_NAMES.values()) - {"ImageJ TIFF", "OME-TIFF"})
    lines = [
        "# Formats",
        "",
        "Written by `tests/volumes/test_format_table.py`, which makes a small file of every kind, opens it, and",
        "compares axes, voxel size and voxels with what went in, and voxels with what the library in **bold** reads.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *map(row, KINDS),
        "",
        f"Further dialects of TIFF are read as tifffile understands them: {', '.join(dialects)}.",
        "Zarr is read from `s3://`, `https://` and other addresses, too, by fsspec. Whatever a file does not say stays",
        "unknown; `--set voxel_size=[Z,Y,X]` and `--axes` say it. RGB is read as channels where `--axes` says so, for",
        "example YXC; colours of a palette, complex numbers and Python objects are refused.",
        "",
        "Read by a package that its user installs, which the message names:",
        "",
        "| format | package | licence |",
        "|---|---|---|",
        *(f"| {', '.join(names)} | {package} | {licence} |" for (package, licence), names in by_package.items()),
        "",
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name.split(" (")[0] for kind in KINDS])
def test_a_file_of_every_kind(tmp_path: Path, kind: Kind) -> None:
    if kind.needs:
        pytest.importorskip(kind.needs, reason=f"needs {kind.needs}, an optional package")
    path, data = kind.make(tmp_path)
    if kind.given:
        with pytest.raises(InputError, match=f"axes={kind.given}"):
            open_volume(path)
    volume = open_volume(path, axes=kind.given)
    assert volume.axes == kind.axes
    assert volume.voxel_size == tuple(size if size is None else pytest.approx(size) for size in kind.size)
    voxels = np.asarray(volume.levels[0])
    np.testing.assert_array_equal(voxels.reshape(data.shape), data)
    if kind.other is not None:
        np.testing.assert_array_equal(np.asarray(kind.other(str(path))).reshape(data.shape), data)
    assert len(list_images(str(path).partition("::")[0])) == kind.images
    if kind.images:
        with pytest.raises(InputError, match=f"holds {kind.images} images"):
            open_volume(str(path).partition("::")[0])


def test_every_format_that_is_written_is_in_the_table() -> None:
    assert sorted(WRITTEN.values()) == sorted(get_args(Format))


def test_the_table_is_what_the_code_does() -> None:
    if os.environ.get("SUPERRES_WRITE_TABLE"):
        TABLE.write_text(table(), encoding="utf-8")
    assert TABLE.is_file()
    assert TABLE.read_text(encoding="utf-8") == table(), (
        "the formats have changed; write the table anew: "
        "SUPERRES_WRITE_TABLE=1 python -m pytest tests/volumes/test_format_table.py"
    )
