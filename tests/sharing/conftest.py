"""What the tests of sharing have in common: model files, a box of them, a web server on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image
from skimage import data

from superres.config import IntensityRule
from superres.evaluation.controls import Control
from superres.evaluation.metrics import Scores
from superres.evaluation.results import (
    MODEL,
    AcquisitionResult,
    Evaluation,
    evaluation_to_json,
    gains_over,
    mean_over_acquisitions,
)
from superres.modelfile import ModelFile, ModelHeader, load_model_file, save_model_file
from superres.nets import Architecture, UNet
from superres.sharing import addresses, names
from superres.sharing.card import FIGURES, Card, Figures, Gain, Picture, Scored, Trial

MakeModel = Callable[..., Path]
MakeReport = Callable[..., Path]
ORIGIN = {"id": "a", "sha256": "0" * 64, "licence": "CC BY 4.0 (repo LICENSE)", "credit": "A. Person"}


@pytest.fixture
def make_header() -> Callable[..., ModelHeader]:
    """Return the header of a model for planes that was trained on one acquisition."""

    def make(**changes: Any) -> ModelHeader:
        values: dict[str, Any] = {
            "name": "em-x4",
            "architecture": {"channels": 1},
            "factor": (1, 4, 4),
            "channels": 1,
            "receptive_radius": (0, 8, 8),
            "stride": (1, 4, 4),
            "intensity": {"percentiles": [0.5, 99.9], "average": 4},
            "voxel_size": (None, 0.04, 0.04),
            "degradation": [{"downsample": "binning"}, {"poisson": {"photons": [50.0, 400.0]}}],
            "training": {
                "manifests": [{"name": "em", "sha256": "1" * 64}],
                "acquisitions": [dict(ORIGIN)],
                "steps": 100,
                "seconds": 60.0,
            },
        }
        return ModelHeader(**(values | changes))

    return make


@pytest.fixture
def make_model(make_header: Callable[..., ModelHeader]) -> MakeModel:
    """Write a model file that no net is made of: what looks at headers does not need one."""

    def make(path: Path, *, seed: int = 0, **changes: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {"weight": np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)}
        save_model_file(path, make_header(**changes), weights)
        return path

    return make


@pytest.fixture
def plain_net(tmp_path: Path, make_header: Callable[..., ModelHeader]) -> Callable[..., Path]:
    """Write a net that interpolates, or with `std` one that does something at random."""

    def make(file: str, *, std: float = 0.0, **changes: Any) -> Path:
        torch.manual_seed(0)
        architecture = Architecture.of_preset("XS", factor=(1, 2, 2))
        net, (reach, stride) = UNet(architecture), (architecture.receptive_radius, architecture.stride)
        for parameter in net.parameters() if std else ():
            torch.nn.init.normal_(parameter, std=std)
        values = {
            "architecture": architecture.to_json(),
            "factor": (1, 2, 2),
            "receptive_radius": (0, reach, reach),
            "stride": (1, stride, stride),
            "intensity": IntensityRule().model_dump(mode="json"),
            "degradation": [{"downsample": "binning"}],
        }
        weights = {key: value.numpy() for key, value in net.state_dict().items()}
        save_model_file(tmp_path / file, make_header(**(values | changes)), weights)
        return tmp_path / file

    return make


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """List two parts of a real image, for validation."""
    listed = []
    for number, corner in enumerate((100, 300)):
        image = tmp_path / f"cell_{number}.tif"
        tifffile.imwrite(image, data.cell()[corner : corner + 96, 200:296], metadata={"axes": "YX"})
        high = [{"file": image.name, "sha256": hashlib.sha256(image.read_bytes()).hexdigest()}]
        listed.append({"id": f"cell_{number}", "split": "val", "high": high})
    told = {"name": "cells", "description": "d", "licence": "CC0", "credit": "c", "source": "s"}
    path = tmp_path / "cells.yaml"
    path.write_text(yaml.safe_dump(told | {"acquisitions": listed}), encoding="utf-8")
    return path


@pytest.fixture
def make_report(tmp_path: Path) -> MakeReport:
    """Write what ``superres evaluate`` would write for a model: two acquisitions, three baselines, a picture."""

    def scores(psnr: float) -> Scores:
        return Scores(psnr, psnr + 1, psnr / 50, 0.1, 1.0, 0.0, 0.9, 1.0, resolution=100 / psnr)

    def make(
        model: Path,
        folder: str = "report",
        *,
        psnr: Mapping[str, float] | None = None,
        manifest: str = "em",
        warnings: tuple[str, ...] = (),
        told: Mapping[str, Any] = MappingProxyType({}),
    ) -> Path:
        file, out = load_model_file(model), tmp_path / folder
        own = psnr or {"a": 28.0, "b": 30.5}
        found = tuple(
            AcquisitionResult(
                manifest, name, "s", "l", "c", ("a.tif",), 1, (64, 64), (None, 0.01, 0.01), (255.0,), "max - min",
                scores={"bicubic": scores(25.0), "richardson-lucy": scores(26.0), "unet": scores(27.0),
                        MODEL: scores(value)},
                warnings=warnings,
            )
            for name, value in own.items()
        )  # fmt: skip
        methods = ("bicubic", "richardson-lucy", "unet", MODEL)
        conventions = {
            "created": "2026-11-27T10:00:00+00:00",
            "versions": {"superres": "0.1.0"},
            "settings": {"split": "val", "planes": 8, "crop": 8, "seed": 0, "model": str(model)},
            "model": {"name": file.header.name, "sha256": file.sha256, "identity": file.identity},
            "is_result": False,
            "manifests": [{"name": manifest, "path": "somewhere", "sha256": "2" * 64}],
            "tuned": {"richardson-lucy": {}},
            "rivals": {"unet": {}},
            "factor": list(file.header.factor),
            "degradation": [{"downsample": "binning"}],
        }
        evaluation = Evaluation(
            out / "report.html", out / "report.json", methods, "bicubic", found, {},
            mean_over_acquisitions(found, methods), gains_over(found, methods[:-1]), conventions | dict(told),
            (Control("blank", 0.9, 1.01),),
        )  # fmt: skip
        out.mkdir(exist_ok=True)
        evaluation.data.write_text(evaluation_to_json(evaluation), encoding="utf-8")
        Image.new("RGB", (8, 8)).save(out / "worst.png")
        return out

    return make


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in the place of the models in the package."""
    folder = tmp_path / "box"
    folder.mkdir()
    monkeypatch.setattr(names, "BOX", folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in the place of this user's cache."""
    monkeypatch.setattr(addresses, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


class Site:
    """A web server on this machine: what it has, by path, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.address = ""


@pytest.fixture
def site() -> Iterator[Site]:
    shown = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.asked.append(self.path)
            if self.path not in shown.files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(shown.files[self.path])))
            self.end_headers()
            self.wfile.write(shown.files[self.path])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield shown
    server.shutdown()
    server.server_close()
    thread.join()


# --- nets that are exported ------------------------------------------------------------------------------------------

# Narrow and shallow: what is tested does not depend on the width, and the halo is small.
THIN: dict[str, Any] = {"channels": 1, "widths": (8, 12), "blocks": 1, "middle_blocks": 1, "consistency_sigma": 1.0}


@pytest.fixture(scope="session")
def net_file() -> Callable[..., Path]:
    """Write the model file of a net of random weights, without a card; what is given are fields of `Architecture`."""
    import torch

    from superres.nets import Architecture, UNet

    def write(path: Path, *, licence: str = "CC BY 4.0 (repo LICENSE)", **kind: Any) -> Path:
        of = Architecture(**(THIN | {"factor": (1, 2, 2)} | kind))
        torch.manual_seed(0)
        net = UNet(of)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        credit = "A. Person 2021, doi:10.1234/abc.5"
        header = ModelHeader(
            name="em-x2",
            architecture=of.to_json(),
            factor=of.factor,
            channels=of.channels,
            receptive_radius=of.receptive_radii,
            stride=of.strides,
            intensity={"percentiles": [0.5, 99.9], "average": 4},
            voxel_size=(None, 0.04, 0.03),
            context={"axis": "z", "frames": of.frames, "target": of.target} if of.frames > 1 else {},
            training={
                "manifests": [{"name": "em", "sha256": "1" * 64}],
                "acquisitions": [{"id": "a", "sha256": "0" * 64, "licence": licence, "credit": credit}],
                "steps": 100,
            },
        )
        save_model_file(path, header, {name: value.numpy() for name, value in net.state_dict().items()})
        return path

    return write


@pytest.fixture(scope="session")
def described_net(net_file: Callable[..., Path]) -> Callable[..., Path]:
    """Write the same with a complete card and its picture beside it."""

    def write(path: Path, **how: Any) -> Path:
        file = load_model_file(net_file(path, **how))
        image = path.with_name(f"{path.stem}.pictures") / "fold.png"
        image.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(image)
        picture = Picture(f"{image.parent.name}/fold.png", hashlib.sha256(image.read_bytes()).hexdigest(), "a fold")
        card = Card(
            identity=file.identity,
            purpose="Electron micrographs of tissue.",
            not_for=("living cells",),
            licence="CC BY 4.0",
            modality="electron",
            machine="2 CPU cores",
            seconds=60.0,
            trials=(trial(file),),
            pictures=(picture,),
            written="2026-01-01",
        )
        save_model_file(path, dataclasses.replace(file.header, card=card.to_json()), file.weights)
        return path

    return write


def trial(file: ModelFile) -> Trial:
    """Make up an evaluation with all baselines that a card must have."""
    scores = {name: Figures(psnr, 0.9, 3.0) for name, psnr in (("bicubic", 28.0), ("richardson-lucy", 28.5))}
    scores |= {"unet": Figures(29.0, 0.91, 2.9), "superres": Figures(30.0, 0.92, 2.8)}
    gain = Gain(mean=1.0, low=0.5, high=1.5, n=2, wins=2)
    gains = {name: dict.fromkeys(FIGURES, gain) for name in scores if name != "superres"}
    return Trial(
        model={"name": file.header.name, "sha256": file.sha256, "identity": file.identity},
        manifests=({"name": "em", "sha256": "1" * 64},),
        settings={"split": "val"},
        reference="bicubic",
        tuned=("richardson-lucy",),
        nets=("unet",),
        acquisitions=tuple(Scored("em", name, scores) for name in ("b", "c")),
        mean=scores,
        gains=gains,
        controls=(),
        created="2026-01-01",
        version="0.1.0",
    )
