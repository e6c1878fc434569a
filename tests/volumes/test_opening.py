"""Dispatch: content decides what a file is; parts, patterns, odd names, and what cannot be opened at all."""

from __future__ import annotations

import os
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr

from superres.errors import InputError, MissingFileError
from superres.volumes import open_volume
from superres.volumes.opening import is_url, list_images, split_part

DATA = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)


def write(path: Path) -> Path:
    """Write by suffix, but only for the test's convenience."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zarr":
        zarr.create_array(path, data=DATA, chunks=(8, 8))
    elif path.suffix == ".npy":
        np.save(path, DATA)
    elif path.suffix == ".png":
        iio.imwrite(path, DATA)
    else:
        tifffile.imwrite(path, DATA)
    return path


def voxels(path: str | Path) -> np.ndarray:
    return np.asarray(open_volume(path).levels[0])[0, 0, 0]


@pytest.mark.parametrize("kind", [".tif", ".png", ".npy", ".zarr"])
@pytest.mark.parametrize(
    "name", ["a b.x", "Zellkern Größe µ.tif", "🔬 probe.png", "a::b.tif", "a[1].tif", "100%.zarr", "x"]
)
def test_content_decides_and_any_name_will_do(tmp_path: Path, kind: str, name: str) -> None:
    path = write(tmp_path / f"plain{kind}").rename(tmp_path / name)
    np.testing.assert_array_equal(voxels(path), DATA)
    np.testing.assert_array_equal(voxels(str(path)), DATA)
    assert list_images(path) == ()


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.zarr")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(voxels("a.zarr"), DATA)


def test_links_are_followed(tmp_path: Path) -> None:
    for name in ("a.tif", "b.zarr"):
        link = tmp_path / f"link to {name}"
        link.symlink_to(write(tmp_path / name))
        np.testing.assert_array_equal(voxels(link), DATA)


def test_part_is_what_follows_the_first_colons_after_something_that_exists(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.tif"))
    assert split_part(path) == (path, None)
    assert split_part(f"{path}::2") == (path, "2")
    assert split_part(f"{path}::a/b::c") == (path, "a/b::c")
    assert split_part(f"{path}::/a/b/") == (path, "a/b")
    assert split_part(f"{path}::") == (path, None)
    odd = str(write(tmp_path / "a::b.tif"))
    assert split_part(odd) == (odd, None)
    assert split_part(f"{odd}::2") == (odd, "2")
    assert split_part("https://host/a.zarr::0") == ("https://host/a.zarr", "0")


@pytest.mark.parametrize("address", ["s3://bucket/a.zarr", "https://host/a.zarr", "memory://a", "s3:/bucket/a.zarr"])
def test_urls(address: str) -> None:
    assert is_url(address)
    assert is_url(str(Path(address)))


@pytest.mark.parametrize("address", ["a.tif", "C:/data/a.tif", r"C:\data\a.tif", "folder/a:b.tif", "10:30.tif", "a::b"])
def test_no_urls(address: str) -> None:
    assert not is_url(address)


def test_part_of_a_file_with_one_image(tmp_path: Path) -> None:
    for name in ("a.png", "a.npy", "a.zarr"):
        path = write(tmp_path / name)
        with pytest.raises(InputError, match=r"holds one image.*'2' is not in it"):
            open_volume(f"{path}::2")


def test_missing(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    for path in ("b.tif", "b.tif::2", "c/d/e", "a.tif/0", "a\0b"):
        with pytest.raises(MissingFileError, match="no such file or folder"):
            open_volume(tmp_path / path)
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "gone.tif")
    with pytest.raises(MissingFileError, match=r"dangling\.tif: a symbolic link to something that is not there"):
        open_volume(tmp_path / "dangling.tif")


def test_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match=r"a: cannot be reached \(Too many levels of symbolic links"):
        open_volume(tmp_path / "a")


def test_folder_that_holds_itself(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    (tmp_path / "a.zarr" / "again").symlink_to(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="a Zarr group, but no image in it"):
        open_volume(tmp_path / "a.zarr")
    assert list_images(tmp_path / "a.zarr") == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_neither_file_nor_folder_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        open_volume(tmp_path / "pipe.tif")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission_to_read(tmp_path: Path) -> None:
    file, folder = write(tmp_path / "a.tif"), write(tmp_path / "a.zarr")
    for path in (file, folder):
        path.chmod(0)
        try:
            with pytest.raises(InputError, match=r"cannot be read.*ermission"):
                open_volume(path)
        finally:
            path.chmod(0o700)


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_refused_by_the_system(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / name)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); check its permissions"):
        open_volume(path)


def test_folder_of_images_says_what_to_type(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"scan_z{number}.tif")
    message = r"a folder of 5 images \(scan_z0.*name one, e\.g\. .*scan_z0\.tif.*'.*\*\.tif'"
    with pytest.raises(InputError, match=message):
        open_volume(tmp_path)


def test_folder_of_stores(tmp_path: Path) -> None:
    write(tmp_path / "one.zarr")
    write(tmp_path / "two.zarr")
    with pytest.raises(InputError, match=r"a folder of 2 Zarr stores \(one\.zarr, two\.zarr\); name one"):
        open_volume(tmp_path)


def test_folder_without_an_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a folder without an image \(found nothing; expected"):
        open_volume(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"found 1 entry, the first of them notes\.txt"):
        open_volume(tmp_path)


OTHERS = {
    "nothing": (b"", "an empty file"),
    "zeros": (bytes(5000), "starts with 4096 zero bytes"),
    "text": (b"hello", "starts with b'hell', which is no format"),
    "gzip": (b"\x1f\x8b\x08\0", "a gzip archive; unpack it first"),
    "pickle": (b"\x80\x04\x95", "a Python pickle, which is never loaded"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "xml": (b"<?xml version='1.0'?><a/>", "XML that describes no image"),
    "zip": (b"PK\3\4 and no more", "a damaged or truncated zip file"),
}


@pytest.mark.parametrize(("content", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    for attempt in (open_volume, list_images):
        with pytest.raises(InputError, match=rf"a\.tif: .*{message}"):
            attempt(path)


def test_pattern_is_a_series(tmp_path: Path) -> None:
    for number in range(3):
        tifffile.imwrite(tmp_path / f"scan_z{number}.tif", DATA + number)
    volume = open_volume(f"{tmp_path}/scan_z*.tif")
    assert volume.shape == (1, 1, 3, 20, 30)
    assert list_images(f"{tmp_path}/scan_z*.tif") == ()


def test_numpy_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}, print], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"not a usable NumPy file .*expected an array of numbers"):
        open_volume(tmp_path / "a.npy")


def test_numpy_file(tmp_path: Path) -> None:
    data = np.asfortranarray(np.random.default_rng(0).normal(size=(3, 20, 30)).astype(">f4"))
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(InputError, match="axes=ZYX"):
        open_volume(tmp_path / "a.npy")
    volume = open_volume(tmp_path / "a.npy", axes="ZYX", voxel_size=(1, 2, 3))
    assert (volume.format, volume.voxel_size, volume.dtype) == ("NumPy", (1.0, 2.0, 3.0), np.float32)
    np.testing.assert_array_equal(volume.levels[0][0, 0].compute(), data)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:900])
    with pytest.raises(InputError, match="not a usable NumPy file"):
        open_volume(tmp_path / "a.npy", axes="ZYX")
