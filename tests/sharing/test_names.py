"""What ``--model`` takes: names, files, folders, addresses; what is refused, and with which words."""

from __future__ import annotations

import hashlib
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superres.datasets import download as downloading
from superres.errors import InputError, MissingFileError, ModelFileError, OutputWriteError
from superres.modelfile import load_model_file, read_model_header
from superres.sharing import addresses, bundled_models, find_model

MakeModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_PAUSES_AT_FIRST", ())


def pinned(address: str, content: bytes) -> str:
    return f"{address}#sha256={hashlib.sha256(content).hexdigest()}"


def test_names_files_and_folders(box: Path, tmp_path: Path, make_model: MakeModel) -> None:
    bundled, own = make_model(box / "em-x4.safetensors"), make_model(tmp_path / "run" / "model.safetensors")
    assert bundled_models() == {"em-x4": bundled}
    assert find_model("em-x4") == bundled
    assert find_model(str(own)) == own
    assert find_model(tmp_path / "run") == tmp_path / "run"


def test_an_empty_box_says_so(box: Path) -> None:
    assert bundled_models() == {}
    with pytest.raises(
        MissingFileError, match=r"em-x4: no such model file.*this package holds no models: give the path"
    ):
        find_model("em-x4")


def test_an_unknown_name_shows_the_closest(box: Path, make_model: MakeModel) -> None:
    for name in ("em-x2", "em-x4", "fluo-x2"):
        make_model(box / f"{name}.safetensors")
    with pytest.raises(
        MissingFileError, match=r"em-x3: no such .* did you mean em-x4 or em-x2\? The package holds em-x2,"
    ):
        find_model("em-x3")
    with pytest.raises(MissingFileError, match="did you mean em-x4"):
        find_model("EM_x4")
    with pytest.raises(MissingFileError, match=r"zebra: no such [^?]*; The package holds em-x2, em-x4, fluo-x2"):
        find_model("zebra")
    with pytest.raises(MissingFileError, match=r"runs/em-x4: no such model file.*give the path of a .safetensors file"):
        find_model("runs/em-x4")


def test_a_name_wins_over_a_folder_and_says_so(
    box: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = make_model(box / "em-x4.safetensors")
    make_model(tmp_path / "here" / "em-x4" / "model.safetensors", seed=1)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.warns(UserWarning, match=r"write \./em-x4 for what is called so here"):
        assert find_model("em-x4") == bundled
    assert find_model("./em-x4") == Path("em-x4")


def test_an_address_is_downloaded_once(site: Any, cache: Path, tmp_path: Path, make_model: MakeModel) -> None:
    content = make_model(tmp_path / "em.safetensors").read_bytes()
    site.files["/models/em.safetensors"] = content
    address = pinned(f"{site.address}/models/em.safetensors", content)
    found = find_model(address)
    assert found.is_relative_to(cache)
    assert found.name == "em.safetensors"
    assert found.read_bytes() == content
    site.files.clear()
    assert find_model(Path(address)) == found  # pathlib takes one of the slashes
    assert len(site.asked) == 1
    found.write_bytes(b"damaged")
    site.files["/models/em.safetensors"] = content
    assert find_model(address).read_bytes() == content


def test_an_address_of_the_hub(
    site: Any, cache: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_HUB", site.address)
    content = make_model(tmp_path / "em.safetensors").read_bytes()
    site.files["/lab/models/resolve/main/deep/em.safetensors"] = content
    site.files["/lab/models/resolve/v2/em.safetensors"] = content
    with pytest.warns(UserWarning, match=rf"with #sha256={hashlib.sha256(content).hexdigest()} behind the address"):
        assert find_model("hf://lab/models/deep/em.safetensors").read_bytes() == content
    assert find_model(pinned("hf://lab/models@v2/em.safetensors", content)).read_bytes() == content
    with pytest.raises(InputError, match="expected hf://owner/repository/file"):
        find_model("hf://lab/em.safetensors")


def test_what_is_sent_must_be_what_was_asked_for(site: Any, cache: Path, tmp_path: Path, make_model: MakeModel) -> None:
    content = make_model(tmp_path / "em.safetensors").read_bytes()
    site.files["/em.safetensors"] = make_model(tmp_path / "other.safetensors", seed=1).read_bytes()
    address = f"{site.address}/em.safetensors"
    with pytest.raises(InputError, match=r"em.safetensors#sha256=.*: SHA-256 of what .* it was deleted"):
        find_model(pinned(address, content))
    with pytest.raises(InputError, match=r"http:// can be changed on its way; give https://, or add #sha256="):
        find_model(address)
    with pytest.raises(InputError, match="'#md5=1' is not understood; a checksum is #sha256="):
        find_model(f"{address}#md5=1")
    with pytest.raises(
        InputError, match=r"the server answers 404 Not Found; check the address, or fetch the file by hand"
    ):
        find_model(pinned(f"{site.address}/none.safetensors", content))
    assert not list(cache.rglob("*.safetensors"))


def test_without_a_network_it_says_what_to_do(cache: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(
        OutputWriteError, match=r"em.safetensors#.*: there is no connection to .*Without a network take a model"
    ):
        find_model(pinned(f"http://127.0.0.1:{port}/em.safetensors", b""))


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_pickle_is_refused_and_never_opened(site: Any, cache: Path, tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "renamed.safetensors"
    file.write_bytes(pickle.dumps({"weights": Bomb(trace)}))
    with pytest.raises(ModelFileError, match=r"renamed.safetensors: not a readable .safetensors file"):
        read_model_header(find_model(file))
    site.files["/em.safetensors"] = file.read_bytes()
    with pytest.raises(ModelFileError, match=r"http.*: not a readable .safetensors file .*; nothing of it was kept"):
        find_model(pinned(f"{site.address}/em.safetensors", file.read_bytes()))
    assert not list(cache.rglob("*.safetensors*"))
    assert not trace.exists()
    pickle.loads(file.read_bytes())  # it would have been noticed
    assert trace.exists()


def test_a_torn_model_is_refused(tmp_path: Path, make_model: MakeModel) -> None:
    whole = make_model(tmp_path / "whole.safetensors").read_bytes()
    torn = tmp_path / "torn.safetensors"
    for length in (0, 4, 100, len(whole) - 1):
        torn.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"torn.safetensors: "):
            load_model_file(torn)
