"""Every recipe and manifest of the project can be read, without any image, and says what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from superres.config import TrainConfig, dump_config, load_config
from superres.datasets.manifest import parse_manifest

PROJECT = Path(__file__).parents[2]
RECIPES = sorted((PROJECT / "pipelines").glob("*.yaml"))
MANIFESTS = sorted({file for path in RECIPES for file in load_config(TrainConfig, path).manifests})
OPEN_LICENCES = ("CC0", "CC BY 3.0", "CC BY 4.0", "MIT", "BSD-3-Clause")


def test_there_are_recipes_and_manifests() -> None:
    assert {path.stem for path in RECIPES} >= {"em_x4", "fluorescence_x2", "restore_pairs"}
    assert {path.stem for path in MANIFESTS} >= {"em", "fluorescence", "pairs_snr"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_can_be_read_and_written(path: Path, tmp_path: Path) -> None:
    config = load_config(TrainConfig, path)
    assert config.name == path.stem
    assert config.time_budget is not None
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(config), encoding="utf-8")
    assert load_config(TrainConfig, copy).model_copy(update={"manifests": config.manifests}) == config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_fits_its_manifests(path: Path) -> None:
    """Degraded images need a degradation, recorded pairs none; both need something to learn and something to watch."""
    config = load_config(TrainConfig, path)
    acquisitions = [item for manifest in config.manifests for item in parse_manifest(manifest).acquisitions]
    assert {"train", "val"} <= {item.split for item in acquisitions}
    for item in acquisitions:
        assert bool(item.low) != bool(config.degrade)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_stands_in_the_readme_with_its_command(path: Path) -> None:
    assert f"[{path.name}]({path.name})" in (PROJECT / "pipelines" / "README.md").read_text(encoding="utf-8")
    assert f"superres train pipelines/{path.name}" in path.read_text(encoding="utf-8")


def test_em_recipe_is_centred_on_its_reference_noise() -> None:
    """One electron per grey level of 8 bits, and detector noise of 10 of 255 grey levels."""
    steps = load_config(TrainConfig, PROJECT / "pipelines" / "em_x4.yaml").degrade
    photons = next(step.poisson.photons for step in steps if step.poisson)
    sd = next(step.read_noise.sd for step in steps if step.read_noise)
    assert sum(photons) / 2 == pytest.approx(255, rel=0.01)
    assert sum(sd) / 2 == pytest.approx(10 / 255, rel=0.01)
    assert [step.downsample for step in steps] == ["binning", None, None]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_is_open_data_with_origin(path: Path) -> None:
    manifest = parse_manifest(path)
    assert manifest.name == path.stem
    for item in manifest.acquisitions:
        assert item.licence.startswith(OPEN_LICENCES)
        assert "GPL" not in item.licence
        assert item.credit
        assert item.source
        assert not any(file.is_absolute() for file in item.high + item.low) or path.is_absolute()


def test_acquisition_ids_are_unique_over_all_manifests() -> None:
    ids = [item.id for path in MANIFESTS for item in parse_manifest(path).acquisitions]
    assert len(ids) == len(set(ids))
