"""Archives from strangers: members as listed, everything else refused, nothing outside the folder."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from superres.datasets.fetch import ARCHIVES, fetch_manifest, plan_fetch
from superres.datasets.unpacking import unpack
from superres.errors import InputError, OutputWriteError

FILES = {"set/a.tif": b"first", "set/deep/b.tif": b"second", "README": b"read me"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return path


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make", [zipped, tarred])
def test_everything_is_unpacked(make: Any, tmp_path: Path) -> None:
    archive = make(tmp_path / "any.name", FILES)
    assert len(unpack(archive, tmp_path / "out")) == 3
    assert content_of(tmp_path / "out") == FILES
    assert len(unpack(archive, tmp_path / "out")) == 3, "again is no error"


def test_members_are_found_as_tar_writes_them(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a.tar.gz", {f"./{name}": content for name, content in FILES.items()})
    assert unpack(archive, tmp_path / "out", only={"set/a.tif": tmp_path / "out" / "b.tif"}) == (
        tmp_path / "out" / "b.tif",
    )
    assert content_of(tmp_path / "out") == {"b.tif": b"first"}


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil", "a\nb"])
def test_a_member_that_leaves_the_folder_is_refused(make: Any, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"good.tif": b"x", name: b"evil"})
    with pytest.raises(InputError, match="would be written outside the folder; it is not to be trusted"):
        unpack(archive, tmp_path / "in" / "out")
    assert content_of(tmp_path) == {"a.zip": archive.read_bytes()}, "not even the good ones are written"


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b"]), min_size=1, max_size=6).map("/".join))
def test_no_name_leads_out(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("archives")
    archive = tarred(folder / "a.tar.gz", {name: b"x"})
    try:
        files = unpack(archive, folder / "out")
    except InputError:
        files = ()
    assert all(file.resolve().is_relative_to(folder / "out") for file in files)
    assert {path.name for path in folder.iterdir()} <= {"a.tar.gz", "out"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a.tar.gz", {"passwd": b""}, kind=kind)
    with pytest.raises(InputError, match="holds a link or a device, 'passwd'"):
        unpack(archive, tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="holds a link or a device, 'link'"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_bomb_is_not_unpacked(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superres.datasets.unpacking._ALWAYS_ALLOWED", 1000)
    archive = make(tmp_path / "a.zip", {"zeros": bytes(3_000_000)})
    with pytest.raises(InputError, match="made to fill the disk and is not unpacked"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_lies_about_its_sizes_is_stopped(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.tif": b"x" * 5000})
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(InputError):
        unpack(archive, tmp_path / "out")
    assert content_of(tmp_path / "out") == {}


def test_damage_is_told(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.tif": bytes(range(256)) * 40})
    raw = bytearray(archive.read_bytes())
    raw[60] ^= 0xFF
    archive.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.zip: cannot be unpacked .*fetch it again"):
        unpack(archive, tmp_path / "out")
    (tmp_path / "b.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"b\.zip: cannot be unpacked .*expected a ZIP or tar file"):
        unpack(tmp_path / "b.zip", tmp_path / "out")


def test_names_that_meet_on_other_systems_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"A.tif": b"1", "a.tif": b"2"})
    with pytest.raises(InputError, match=r"holds 'a\.tif' twice"):
        unpack(archive, tmp_path / "out")


def test_a_file_of_one_s_own_is_kept(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README").write_text("my own notes")
    with pytest.raises(OutputWriteError, match="is another file than that in"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "README").read_text() == "my own notes"


# --- whole manifests --------------------------------------------------------------------------------------------------


def manifest(folder: Path, archive: dict[str, Any], files: list[dict[str, Any]]) -> Path:
    values = {"name": "set", "description": "A set.", "licence": "CC0", "credit": "A. B.", "source": "us"}
    items = [{"id": f"i{n}", "split": "test", "high": [file]} for n, file in enumerate(files)]
    path = folder / "set.yaml"
    path.write_text(yaml.safe_dump(values | {"archives": [archive], "acquisitions": items}))
    return path


def placed(folder: Path) -> tuple[Path, str]:
    """Put an archive where a fetch would keep it, as a user does by hand."""
    target = folder / ARCHIVES / "set" / "all.zip"
    target.parent.mkdir(parents=True)
    zipped(target, FILES)
    return target, hashlib.sha256(target.read_bytes()).hexdigest()


def test_members_get_their_names(tmp_path: Path) -> None:
    archive, digest = placed(tmp_path / "data")
    good = hashlib.sha256(b"first").hexdigest()
    files = [
        {"file": "a.tif", "archive": "all.zip", "member": "set/a.tif", "sha256": good},
        {"file": "set/deep/b.tif", "archive": "all.zip", "sha256": None},
    ]
    path = manifest(tmp_path, {"archive": "all.zip", "sha256": digest}, files)
    assert plan_fetch(path, to=tmp_path / "data").missing == ()
    result = fetch_manifest(path, to=tmp_path / "data")
    assert [item.state for item in result.files] == ["there", "unpacked", "unpacked"]
    assert result.problems == ()
    assert (tmp_path / "data" / "a.tif").read_bytes() == b"first"
    archive.unlink()
    assert [item.state for item in fetch_manifest(path, to=tmp_path / "data").files] == ["there", "there"]


def test_a_member_with_another_checksum_is_not_kept(tmp_path: Path) -> None:
    _, digest = placed(tmp_path / "data")
    file = {"file": "a.tif", "archive": "all.zip", "member": "set/a.tif", "sha256": "0" * 64}
    path = manifest(tmp_path, {"archive": "all.zip", "sha256": digest}, [file])
    result = fetch_manifest(path, to=tmp_path / "data")
    assert "expected 000" in result.problems[0].message
    assert not (tmp_path / "data" / "a.tif").exists()


def test_a_member_that_is_not_there_is_named(tmp_path: Path) -> None:
    placed(tmp_path / "data")
    file = {"file": "a.tif", "archive": "all.zip", "member": "set/z.tif", "sha256": None}
    path = manifest(tmp_path, {"archive": "all.zip", "sha256": None}, [file])
    assert "holds no 'set/z.tif'" in fetch_manifest(path, to=tmp_path / "data").problems[0].message


def test_an_archive_without_listed_members_is_unpacked_once(tmp_path: Path) -> None:
    archive, digest = placed(tmp_path / "data")
    path = manifest(tmp_path, {"archive": "all.zip", "sha256": None, "unpack": "mine"}, [])
    result = fetch_manifest(path, to=tmp_path / "data")
    assert [(item.state, item.found) for item in result.files] == [("unpacked", digest)]
    assert result.files[0].is_unverified
    assert FILES.items() <= content_of(tmp_path / "data" / "mine").items()
    archive.unlink()
    assert plan_fetch(path, to=tmp_path / "data").missing == (), "what was unpacked is not fetched again"
    assert [item.state for item in fetch_manifest(path, to=tmp_path / "data").files] == ["there"]


def test_an_archive_without_address_is_asked_for(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"archive": "all.zip", "sha256": None}, [])
    problem = fetch_manifest(path, to=tmp_path / "data").problems[0]
    assert problem.state == "no address"
    assert str(tmp_path / "data" / ARCHIVES / "set" / "all.zip") in problem.message
