"""From a small training to the picture of the loss around it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from superres.cli.landscape_output import show_landscape
from superres.config import TrainConfig
from superres.datasets.manifest import load_manifests
from superres.errors import Cancelled, ConfigError, MissingFileError
from superres.evaluation.landscape import Landscape
from superres.evaluation.landscape_job import landscape
from superres.evaluation.landscape_page import in_words
from superres.modelfile import load_model_file
from superres.nets import choose_device
from superres.nets.architecture import PRESETS
from superres.progress import Progress
from superres.training import train
from superres.training.kind import open_split
from superres.training.material import Material
from superres.training.record import validate
from superres.training.snapshots import find_snapshots
from superres.volumes.hyperstack import save_hyperstack

Trained = Callable[..., Path]

KINDS: dict[str, dict[str, Any]] = {
    "planes beside": {"model": {"context": {"axis": "z", "frames": 3}, "norm": "batch"}},
    "channels": {"model": {"together": True, "norm": "weight"}, "channels": [0, 1]},
    "volumes": {"model": {"dimensions": 3, "norm": "spectral"}, "factor": [2, 2, 2]},
    "attention": {"model": {"attention": True, "dropblock": 0.1}, "channels": [1]},
}


def texture(seed: int, *shape: int) -> NDArray[np.uint16]:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, 0, 1, 2, 2))
    return (30_000 * (noise - noise.min()) / (noise.max() - noise.min()) + 500).astype(np.uint16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Return what trains a very small net for three steps, and gives its run folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "XS", {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1})
        patch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: None)
        folder = tmp_path_factory.mktemp("trained")
        for recorded in (False, True):
            write_manifest(folder, recorded)

        def make(name: str, *, recorded: bool = False, **changes: Any) -> Path:
            net = {"preset": "XS", "consistency_sigma": 0.5, "interval": False}
            content: dict[str, Any] = {
                "manifests": [folder / f"recorded_{recorded}.yaml"],
                "factor": [1, 2, 2],
                "device": "cpu",
                "degrade": [] if recorded else [{"downsample": "binning"}, {"read_noise": {"sd": 0.03}}],
                "patch": {"size": 8, "depth": 4, "batch": 2},
                "phases": [{"name": "fidelity", "share": 1.0}],
                "steps": 3,
                "snapshots": 3,
            }
            model = net | changes.pop("model", {})
            train(TrainConfig.model_validate(content | {"model": model} | changes), folder / name)
            return folder / name

        yield make


def write_manifest(folder: Path, recorded: bool) -> None:
    entries = []
    for seed, split in enumerate(("train", "val")):
        high = texture(seed, 2, 2, 6, 48, 48)
        files = {"high": high} | ({"low": zoom(high, (1, 1, 1, 0.5, 0.5), order=1)} if recorded else {})
        entry: dict[str, Any] = {"id": split, "split": split}
        for kind, values in files.items():
            file = folder / f"{split}_{kind}_{recorded}.tif"
            save_hyperstack(file, values, voxel_size=(0.6, 0.1, 0.1))
            entry[kind] = [{"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}]
        entries.append(entry)
    content = {"name": "made", "description": "made here", "licence": "CC0", "credit": "nobody", "source": "here"}
    (folder / f"recorded_{recorded}.yaml").write_text(yaml.safe_dump(content | {"root": ".", "acquisitions": entries}))


@pytest.fixture(scope="module")
def run(trained: Trained) -> Path:
    return trained("plain")


@pytest.fixture(scope="module")
def drawn(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    return landscape(run, tmp_path_factory.mktemp("drawn") / "deep", points=5)


def middle_of(found: Landscape) -> tuple[int, int]:
    """Where the final weights are on the map: row and column."""
    first, second = (int(np.flatnonzero(axis.values == 0)[0]) for axis in found.axes)
    return second, first


def test_the_map_of_a_training_lies_along_its_path(run: Path, drawn: Landscape) -> None:
    assert drawn.loss.shape == drawn.psnr.shape == (5, 5)
    assert drawn.loss[middle_of(drawn)] == drawn.final.loss, "exactly"
    assert drawn.psnr[middle_of(drawn)] == drawn.final.psnr
    assert [stop.step for stop in drawn.path] == [one.step for one in find_snapshots(run)] == [0, 1, 2]
    assert sum(drawn.explained) == pytest.approx(1)
    assert (drawn.axes[0].explained, drawn.axes[1].explained) == drawn.explained[:2]
    for stop in drawn.path:
        for axis, place in zip(drawn.axes, stop.place, strict=True):
            assert axis.values[0] < place < axis.values[-1], "the whole path is on the map"
        assert 0 < stop.inside <= 1
    assert drawn.path[0].inside > 0.9
    # The start is nearly in the plane of a path of three steps, so the map shows about its loss.
    assert drawn.path[0].below == pytest.approx(drawn.path[0].loss, rel=0.01)
    assert not drawn.notes


def test_psnr_is_that_of_the_validation_during_training(run: Path, drawn: Landscape) -> None:
    """One acquisition with fewer images than patches: the same crops, noise and grey scale."""
    config = TrainConfig.model_validate(yaml.safe_load((run / "config.yaml").read_text()))
    told = load_model_file(run).header.metrics["psnr"]
    manifests = load_manifests(config.manifests, None)
    valid = open_split(config, manifests, "val")[0]
    from superres.nets import net_from_model_file

    net = net_from_model_file(load_model_file(run))
    material = Material(config, net.architecture, choose_device("cpu"), valid, valid)
    assert material.validation is not None
    assert len(material.validation_names) <= 8
    assert validate(net, material)["psnr"] == pytest.approx(told, abs=1e-4)
    assert drawn.final.psnr == pytest.approx(told, abs=1e-4)


def test_the_first_snapshot_is_interpolation_as_every_net_is_at_first(run: Path, drawn: Landscape) -> None:
    told = load_model_file(run).header.metrics["psnr_bicubic"]
    assert drawn.path[0].psnr == pytest.approx(told, abs=0.3), "but for the consistency layer"


def test_what_is_written_says_all_and_the_same_each_time(run: Path, drawn: Landscape, tmp_path: Path) -> None:
    content = json.loads(drawn.data.read_text(encoding="utf-8"))
    np.testing.assert_array_equal(content["loss"], drawn.loss)
    np.testing.assert_array_equal(content["axes"][1]["values"], drawn.axes[1].values)
    assert content["path"][1]["place"] == list(drawn.path[1].place)
    page = drawn.page.read_text(encoding="utf-8")
    assert page.count('<svg class="chart"') == 3, "map, cuts and path"
    assert page.count("<circle") == 3 + 1
    assert f"first main direction of the path, {drawn.explained[0]:.1%} of the variance" in page
    assert in_words(drawn).startswith(f"{sum(drawn.explained[:2]):.1%} in the plane of the map (")
    again = landscape(run, tmp_path / "again", points=5)
    assert again.data.read_bytes() == drawn.data.read_bytes()
    assert again.page.read_bytes() == drawn.page.read_bytes()


def test_without_snapshots_the_map_is_random_and_says_how_to_have_the_path(run: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    shutil.rmtree(bare / "snapshots")
    found, other = (landscape(bare, tmp_path / str(seed), points=5, seed=seed) for seed in (0, 1))
    assert not found.path
    assert [axis.explained for axis in found.axes] == [None, None]
    np.testing.assert_array_equal(found.axes[0].values, [-1, -0.5, 0, 0.5, 1])
    assert found.loss[2, 2] == other.loss[2, 2] == found.final.loss
    assert not np.array_equal(found.loss, other.loss), "the seed decides the plane"
    assert any("--set snapshots=20" in note for note in found.notes)
    assert "final weights</text>" in found.page.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_nets_of_every_kind_have_a_map(trained: Trained, tmp_path: Path, kind: str) -> None:
    run = trained(kind, steps=2, snapshots=2, **KINDS[kind])
    found = landscape(run, tmp_path, points=5)
    assert np.isfinite(found.loss).all()
    assert found.loss[middle_of(found)] == found.final.loss
    assert found.final.psnr > 5
    assert [stop.step for stop in found.path] == [0, 1]
    assert bool(found.notes) == (kind in ("planes beside", "volumes")), "those whose norms keep something besides"


def test_recorded_pairs_are_compared_as_in_training(trained: Trained, tmp_path: Path) -> None:
    found = landscape(trained("recorded", recorded=True, steps=1, snapshots=1), tmp_path, points=5)
    assert "degraded" not in found.patches
    assert found.explained == (pytest.approx(1),), "one snapshot and the end: a straight path"
    assert [axis.explained is None for axis in found.axes] == [False, True]
    assert [stop.place[1] for stop in found.path] == [0.0]
    assert found.loss[middle_of(found)] == found.final.loss


def test_events_count_every_net_and_a_stop_leaves_nothing(run: Path, tmp_path: Path) -> None:
    events: list[Progress] = []

    def stop(event: Progress) -> None:
        events.append(event)
        if event.done == 7:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        landscape(run, tmp_path / "out", points=5, progress=stop)
    assert [event.done for event in events] == list(range(1, 8))
    assert {event.total for event in events} == {5 * 5 + 2 * 3}
    assert not (tmp_path / "out").exists()


def test_wrong_folders_and_sizes_are_told_in_words(run: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"not a run folder: there is no config\.yaml"):
        landscape(tmp_path, tmp_path / "out")
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(MissingFileError, match="not finished"):
        landscape(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="at least 5"):
        landscape(run, tmp_path / "out", points=4)


def test_what_is_printed(drawn: Landscape, capsys: pytest.CaptureFixture[str]) -> None:
    show_landscape(drawn, as_json=False)
    text = " ".join(capsys.readouterr().out.split())
    assert in_words(drawn) in text
    assert "5 x 5 nets along the first main direction of the path" in text
    show_landscape(drawn, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(drawn.page)
    assert told["final"]["loss"] == drawn.final.loss
