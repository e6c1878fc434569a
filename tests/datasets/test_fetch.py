"""Fetching from a server in a thread: resume, broken connections, wrong files, and nothing ever written over."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from superres.datasets import download as downloading
from superres.datasets.download import UnreachableError, Wanted, download
from superres.datasets.fetch import FetchedFile, fetch_manifest, plan_fetch
from superres.errors import Cancelled, InputError, OutputWriteError
from superres.progress import Progress

CONTENT = hashlib.shake_128(b"pixels").digest(3_000_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Site:
    """Files by path, how the server behaves, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)  # bytes sent before each of the next answers breaks off
    failures: list[int] = field(default_factory=list)  # status codes of the next answers
    ranges: bool = True
    tag: str = '"one"'
    content_type: str = "application/octet-stream"
    asked: list[str | None] = field(default_factory=list)
    address: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.asked.append(wanted)
        if site.failures:
            self.send_error(site.failures.pop(0))
            return
        if self.path not in site.files:
            self.send_error(404)
            return
        content, start = site.files[self.path], 0
        same = self.headers.get("If-Range") in (None, site.tag)
        if wanted and site.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", site.content_type)
        self.send_header("ETag", site.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + site.break_after.pop(0) if site.break_after else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site({"/a.tif": CONTENT})
    handler = type("_Handler", (Handler,), {"site": site})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(downloading, "_PAUSES_AT_FIRST", (0.0,))
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def wanted(site: Site, folder: Path, **keys: Any) -> Wanted:
    return Wanted(f"{site.address}/a.tif", folder / "deep" / "a.tif", **keys)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_fetched_and_checked(site: Site, tmp_path: Path) -> None:
    events: list[Progress] = []
    target = wanted(site, tmp_path, sha256=sha256(CONTENT), size=len(CONTENT))
    assert download(target, progress=events.append) == sha256(CONTENT)
    assert target.target.read_bytes() == CONTENT
    assert leftovers(tmp_path) == {"a.tif"}
    assert {event.stage for event in events} == {"fetch"}
    assert events[-1].done == events[-1].total == pytest.approx(3.0)


def test_a_broken_connection_is_resumed(site: Site, tmp_path: Path) -> None:
    site.break_after = [1_000_000, 500_000]
    target = wanted(site, tmp_path, sha256=sha256(CONTENT))
    download(target)
    assert target.target.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1000000-", "bytes=1500000-"], "nothing is fetched twice"


def test_a_later_call_goes_on_where_the_first_gave_up(site: Site, tmp_path: Path) -> None:
    site.break_after = [1_000_000, 0, 0, 0]
    target = wanted(site, tmp_path)
    with pytest.raises(
        OutputWriteError, match=r"the connection breaks off to .* \(.*1\.0 MB are kept, and the same command goes on"
    ):
        download(target)
    assert not target.target.exists()
    assert download(target) == sha256(CONTENT)
    assert site.asked[-1] == "bytes=1000000-"
    assert leftovers(tmp_path) == {"a.tif"}


def test_cancelled_midway_is_resumed(site: Site, tmp_path: Path) -> None:
    def stop(event: Progress) -> None:
        if event.done > 1:
            raise Cancelled

    target = wanted(site, tmp_path)
    with pytest.raises(Cancelled):
        download(target, progress=stop)
    assert download(target) == sha256(CONTENT)
    assert str(site.asked[-1]).startswith("bytes=")


@pytest.mark.parametrize("known", [True, False], ids=["checksum known", "checksum unknown"])
def test_another_version_is_never_glued_to_the_old_beginning(site: Site, tmp_path: Path, known: bool) -> None:
    site.break_after = [1_000_000, 0, 0, 0]
    new = hashlib.shake_128(b"newer").digest(2_000_000)
    target = wanted(site, tmp_path, sha256=sha256(new) if known else None)
    with pytest.raises(OutputWriteError):
        download(target)
    site.files["/a.tif"], site.tag = new, '"two"'
    assert download(target) == sha256(new)
    assert target.target.read_bytes() == new


def test_a_server_without_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.break_after = [1_000_000]
    assert download(wanted(site, tmp_path)) == sha256(CONTENT)


def test_a_wrong_checksum_is_refused_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"SHA-256 of what .* sent is {sha256(CONTENT)}, expected {'0' * 64}; it was"):
        download(wanted(site, tmp_path, sha256="0" * 64))
    assert leftovers(tmp_path) == set()


def test_a_part_that_spoils_the_file_is_thrown_away_once(site: Site, tmp_path: Path) -> None:
    target = wanted(site, tmp_path, sha256=sha256(CONTENT))
    target.part.parent.mkdir()
    target.part.write_bytes(b"x" * 1000)
    assert download(target) == sha256(CONTENT)


def test_a_part_that_is_complete_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    target = wanted(site, tmp_path, sha256=sha256(CONTENT))
    target.part.parent.mkdir()
    target.part.write_bytes(CONTENT)
    assert download(target) == sha256(CONTENT)
    assert site.asked == [f"bytes={len(CONTENT)}-"]


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.failures = [503, 429]
    assert download(wanted(site, tmp_path)) == sha256(CONTENT)


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_told_at_once(site: Site, tmp_path: Path, code: int) -> None:
    site.failures = [code]
    with pytest.raises(InputError, match=rf"a\.tif: the server answers {code} .*correct it in the manifest or fetch"):
        download(wanted(site, tmp_path))
    assert len(site.asked) == 1


def test_a_web_page_is_not_taken_for_the_file(site: Site, tmp_path: Path) -> None:
    site.content_type = "text/html"
    with pytest.raises(InputError, match=r"gives a web page, not a\.tif; open it in a browser"):
        download(wanted(site, tmp_path))


def test_another_size_is_told_before_it_is_fetched(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the server has 3000000 bytes, the manifest says 5"):
        download(wanted(site, tmp_path, size=5))
    assert leftovers(tmp_path) == set()


def test_no_server(tmp_path: Path) -> None:
    events: list[Progress] = []
    with pytest.raises(
        UnreachableError, match=r"a\.tif: there is no connection to http://127\.0\.0\.1:9/a\.tif \(.*refused"
    ):
        download(Wanted("http://127.0.0.1:9/a.tif", tmp_path / "a.tif"), progress=events.append)
    assert "trying again in 0 s" in events[0].note, "waiting is told"


# --- whole manifests --------------------------------------------------------------------------------------------------


def manifest(folder: Path, files: list[dict[str, Any]], **keys: Any) -> Path:
    acquisitions = [{"id": f"i{n}", "split": "test", "high": [file]} for n, file in enumerate(files)]
    values = {"name": "set", "description": "A set.", "licence": "CC0", "credit": "A. B.", "source": "us"}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "set.yaml"
    path.write_text(yaml.safe_dump(values | keys | {"acquisitions": acquisitions}))
    return path


def states(files: tuple[FetchedFile, ...]) -> dict[str, str]:
    return {item.file: item.state for item in files}


def test_only_what_is_missing_is_fetched(site: Site, tmp_path: Path) -> None:
    site.files["/b.tif"] = b"b"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.tif").write_bytes(CONTENT)
    path = manifest(
        tmp_path,
        [
            {"file": "a.tif", "sha256": sha256(CONTENT), "url": f"{site.address}/a.tif"},
            {"file": "sub/b.tif", "sha256": None, "url": f"{site.address}/b.tif", "bytes": 1},
            {"file": "c.tif", "sha256": None, "url": f"{site.address}/none.tif"},
            {"file": "d.tif", "sha256": None},
        ],
        url="https://example.org/page",
    )
    plan = plan_fetch(path, to=tmp_path / "data")
    assert [name for name, _, _ in plan.missing] == ["sub/b.tif", "c.tif", "d.tif"]
    assert site.asked == [], "a plan asks nobody"
    result = fetch_manifest(path, to=tmp_path / "data")
    assert states(result.files) == {"a.tif": "there", "sub/b.tif": "fetched", "c.tif": "failed", "d.tif": "no address"}
    assert (tmp_path / "data" / "sub" / "b.tif").read_bytes() == b"b"
    b, c, d = result.files[1:]
    assert b.found == sha256(b"b")
    assert b.is_unverified
    assert "the server answers 404" in c.message
    assert "fetch it by hand (see https://example.org/page)" in d.message
    assert result.problems == (c, d)


def test_a_file_that_is_there_is_never_written_over(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"my own")
    file = {"file": "a.tif", "sha256": sha256(CONTENT), "url": f"{site.address}/a.tif"}
    result = fetch_manifest(manifest(tmp_path, [file]), to=tmp_path)
    assert "another file is there" in result.problems[0].message
    assert (tmp_path / "a.tif").read_bytes() == b"my own"


def test_a_link_does_not_lead_out(site: Site, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sub").symlink_to(tmp_path / "outside")
    file = {"file": "sub/a.tif", "sha256": None, "url": f"{site.address}/a.tif"}
    result = fetch_manifest(manifest(tmp_path, [file]), to=tmp_path / "data")
    assert "a link leads out of" in result.problems[0].message
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("root", ["/", "../elsewhere", "sub/../.."])
def test_a_manifest_does_not_choose_a_folder_of_this_machine(tmp_path: Path, root: str) -> None:
    path = manifest(tmp_path / "m", [{"file": "a.tif", "sha256": None}], root=root)
    with pytest.raises(InputError, match=r"is outside the manifest's folder; .*say so with --to"):
        fetch_manifest(path)
    assert fetch_manifest(path, to=tmp_path / "data").root == tmp_path / "data"


def test_a_full_disk_is_told_before_it_is_full(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = {"file": "a.tif", "sha256": None, "url": f"{site.address}/a.tif", "bytes": 10**18}
    result = fetch_manifest(manifest(tmp_path, [file]), to=tmp_path)
    assert re.search(r"needs 1000000000000 MB, and there is room for \d+ MB", result.problems[0].message)
    assert site.asked == []


def test_a_server_that_does_not_answer_is_not_asked_for_every_file(site: Site, tmp_path: Path) -> None:
    files = [{"file": f"{n}.tif", "sha256": None, "url": f"http://127.0.0.1:9/{n}.tif"} for n in range(3)]
    files.append({"file": "a.tif", "sha256": None, "url": f"{site.address}/a.tif"})
    result = fetch_manifest(manifest(tmp_path, files), to=tmp_path)
    first, *others = result.problems
    assert "there is no connection to" in first.message
    assert {item.message for item in others} == {"not tried: 127.0.0.1:9 did not answer"}
    assert result.files[-1].state == "fetched", "another server may be well"


def test_progress_is_that_of_the_whole_set(site: Site, tmp_path: Path) -> None:
    site.files["/b.tif"] = b"b" * 1_000_000
    files = [
        {"file": "a.tif", "sha256": None, "url": f"{site.address}/a.tif", "bytes": 3_000_000},
        {"file": "b.tif", "sha256": None, "url": f"{site.address}/b.tif", "bytes": 1_000_000},
    ]
    events: list[Progress] = []
    fetch_manifest(manifest(tmp_path, files), to=tmp_path, progress=events.append)
    assert {(event.total, event.unit) for event in events} == {(4000.0, "kB")}
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == 4000.0
