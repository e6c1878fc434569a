"""Zarr behind a URL: a server of this machine, fsspec's memory, and addresses that lead nowhere."""

from __future__ import annotations

import functools
import http.server
import multiprocessing
import re
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr

from superres.cli.images import address
from superres.errors import InputError, MissingFileError
from superres.volumes import open_volume
from superres.volumes.opening import list_images
from superres.volumes.remote import _filesystem

DATA = np.random.default_rng(0).integers(0, 60000, (3, 40, 50)).astype(np.uint16)


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "forbidden" in self.path or "broken" in self.path:
            self.send_error(403 if "forbidden" in self.path else 500)
            return
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or self.path.startswith("/whole") or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        start = int(asked[1]) if asked[1] else len(content) - int(asked[2])
        part = content[start : int(asked[2]) + 1 if asked[1] and asked[2] else None]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(part)

    def list_directory(self, path: object) -> None:  # a bucket behind a web server lists nothing
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


def write(path: Path) -> None:
    for version, zarr_format in (("0.4", 2), ("0.5", 3)):
        group = zarr.open_group(path / f"{version}.zarr", mode="w", zarr_format=zarr_format)
        group.create_array("0", data=DATA, chunks=(1, 16, 16))
        axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
        steps = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
        content = {"multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}]}
        group.attrs.update({"ome": {"version": version, **content}} if zarr_format == 3 else content)
    root = zarr.open_group(path / "plate.zarr", mode="w")
    root.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "B/3"}]}}
    zarr.open_group(path / "plate.zarr" / "B" / "3", mode="w").attrs["ome"] = {"well": {"images": [{"path": "0"}]}}
    (path / "0.5.zarr").rename(path / "plate.zarr" / "B" / "3" / "0")
    (path / "0.5.zarr").symlink_to(path / "plate.zarr" / "B" / "3" / "0")
    for name in ("array.zarr", "whole.zarr"):
        zarr.create_array(path / name, data=DATA[0], chunks=(16, 16), shards=(32, 32))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    write(folder)
    Handler.asked = []
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_server(server: str, version: str) -> None:
    Handler.asked.clear()
    volume = open_volume(f"{server}/{version}.zarr")
    assert volume.voxel_size == (1.0, 0.5, 0.5)
    assert volume.source.name == f"{version}.zarr"
    block = volume.read(t=0, c=0, z=slice(1, 2), y=slice(0, 16), x=slice(20, 30))
    np.testing.assert_array_equal(block, DATA[1:2, 0:16, 20:30])
    chunks = [path for path in Handler.asked if path.split("/")[-1][-1].isdigit()]
    assert len(chunks) == 1
    np.testing.assert_array_equal(volume.levels[0][0, 0].compute(scheduler="threads"), DATA)
    assert volume.identity() == open_volume(f"{server}/{version}.zarr/").identity()


def test_plain_array_and_plate(server: str) -> None:
    np.testing.assert_array_equal(open_volume(f"{server}/array.zarr").levels[0][0, 0, 0].compute(), DATA[0])
    assert list_images(f"{server}/plate.zarr") == ("B/3/0",)
    volume = open_volume(f"{server}/plate.zarr::B/3/0")
    assert (volume.part, volume.shape) == ("B/3/0", (1, 1, 3, 40, 50))


def test_server_that_sends_whole_files_only(server: str) -> None:
    with pytest.raises(InputError, match=r"a chunk cannot be read .*serves parts of files"):
        open_volume(f"{server}/whole.zarr").levels[0].compute()


def test_pickled_volume_reads_in_a_spawned_process(server: str) -> None:
    volume = open_volume(f"{server}/0.5.zarr")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        block = pool.submit(volume.read, t=0, c=0, z=slice(0, 2), y=slice(0, 9), x=slice(0, 9)).result(timeout=120)
    np.testing.assert_array_equal(block, DATA[:2, :9, :9])


def test_nothing_there(server: str) -> None:
    for path in ("nothing.zarr", "plate.zarr/B"):
        with pytest.raises(MissingFileError, match=rf"{path}: no Zarr at this address"):
            open_volume(f"{server}/{path}")


def test_server_refuses_or_fails(server: str) -> None:
    with pytest.raises(InputError, match=r"forbidden\.zarr/.*: the server refuses access .*set your credentials"):
        open_volume(f"{server}/forbidden.zarr")
    with pytest.raises(InputError, match=r"broken\.zarr/.*: the server answers with an error .*500"):
        open_volume(f"{server}/broken.zarr")


def test_no_network() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=r"cannot be reached .*check the address and the network"):
        open_volume(f"http://127.0.0.1:{port}/a.zarr")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_missing_package_is_named(scheme: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    _filesystem.cache_clear()
    with pytest.raises(InputError, match=rf"need {package}, which is not installed.*pip install {package}"):
        open_volume(f"{scheme}://bucket/a.zarr")
    _filesystem.cache_clear()


def test_unknown_kind_of_address() -> None:
    with pytest.raises(InputError, match="not an address that can be read"):
        open_volume("gopher://host/a.zarr")


def test_memory_and_file(tmp_path: Path) -> None:
    write(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "0.4.zarr"), "/remote/a.zarr", recursive=True)
    for place in ("memory://remote/a.zarr", f"file://{tmp_path}/0.4.zarr", Path("memory://remote/a.zarr")):
        volume = open_volume(place)
        assert volume.format == "OME-Zarr 0.1"
        np.testing.assert_array_equal(volume.levels[0][0, 0].compute(), DATA)
    memory.rm("/remote", recursive=True)


def test_what_is_shown_can_be_typed(server: str) -> None:
    """A path object takes a slash from a URL; the user gets it back."""
    assert address(open_volume(f"{server}/0.5.zarr")) == f"{server}/0.5.zarr"
    plate = open_volume(f"{server}/plate.zarr::B/3/0", axes="ZYX")
    assert address(plate) == f"{server}/plate.zarr::B/3/0"
