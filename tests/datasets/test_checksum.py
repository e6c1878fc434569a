"""Checksums of images: one file as sha256sum says, several by content and names, wherever the folder lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from superres.datasets.checksum import image_files, image_sha256


def make(folder: Path) -> Path:
    for name, content in (
        ("z0.tif", b"a"),
        ("z1.tif", b"b"),
        ("store.zarr/zarr.json", b"{}"),
        ("store.zarr/c/0", b"c"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_one_file_has_the_checksum_of_its_bytes(tmp_path: Path) -> None:
    make(tmp_path)
    assert image_sha256(tmp_path / "z0.tif") == hashlib.sha256(b"a").hexdigest()
    assert image_sha256(tmp_path / "z0.tif::2") == hashlib.sha256(b"a").hexdigest()


@pytest.mark.parametrize(("name", "files"), [("z*.tif", ["z0.tif", "z1.tif"]), ("store.zarr", ["c/0", "zarr.json"])])
def test_several_files_have_one_that_follows_content_and_names(tmp_path: Path, name: str, files: list[str]) -> None:
    here, there = make(tmp_path / "here"), make(tmp_path / "there")
    base = here / name if (here / name).is_dir() else here
    assert [path.relative_to(base).as_posix() for path in image_files(here / name)] == files
    before = image_sha256(here / name)
    lines = "".join(f"{hashlib.sha256((base / file).read_bytes()).hexdigest()}  {file}\n" for file in files)
    assert before == image_sha256(there / name) == hashlib.sha256(lines.encode()).hexdigest()
    first = image_files(here / name)[0]
    first.write_bytes(b"changed")
    assert image_sha256(here / name) != before
    first.unlink()
    assert image_sha256(here / name) != before


@pytest.mark.parametrize("name", ["no.tif", "no*.tif", "no.lif::1", "no.zarr"])
def test_what_is_not_there_has_no_files(tmp_path: Path, name: str) -> None:
    assert image_files(tmp_path / name) == ()
