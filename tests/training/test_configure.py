"""Recipes written for folders of images: what is chosen and why, whole files in the splits, nothing by chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
import yaml
import zarr
from numpy.typing import NDArray

from superres.config import TrainConfig, load_config
from superres.datasets.manifest import load_manifest
from superres.datasets.manifest_reading import read_entry
from superres.datasets.sources import Source
from superres.errors import ConfigError, InputError, MissingFileError, OutputExistsError
from superres.training.choices import Cost
from superres.training.configure import Proposal, configure, known_recipe

FACTOR = (1, 2, 2)
CELL: NDArray[np.uint8] = skimage.data.cell()


def probe(config: TrainConfig, sources: list[Source]) -> Cost:
    """Stand for a machine of known speed."""
    assert sources
    return Cost(0.1, config.patch.batch, 1e8, 1e7, 8e9)


def write(folder: Path, name: str, image: NDArray[np.generic], **options: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / name, image, **options)  # type: ignore[arg-type]
    return folder / name


def field(number: int, side: int = 100) -> NDArray[np.uint8]:
    """Return a part of a real image that shares nothing with the other parts."""
    y, x = divmod(number, 5)
    return np.ascontiguousarray(CELL[y * 110 : y * 110 + side, x * 110 : x * 110 + side])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        write(tmp_path / "sharp", f"dish_{number + 1}.tif", field(number))
    return tmp_path / "sharp"


@pytest.fixture
def propose(tmp_path: Path) -> Callable[..., Proposal]:
    def make(folder: Path, factor: tuple[int, int, int] = FACTOR, out: str = "run", **options: object) -> Proposal:
        return configure([folder], factor, tmp_path / out, probe=probe, **options)  # type: ignore[arg-type]

    return make


Propose = Callable[..., Proposal]


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [(), ("model.preset=M", "patch.batch=3", "seed=5"), ("preset=quantitative",)])
def test_the_recipe_reads_back_to_the_same_training(folder: Path, propose: Propose, overrides: tuple[str, ...]) -> None:
    made = propose(folder, overrides=overrides)
    read = load_config(TrainConfig, made.recipe)
    assert read == made.config
    assert load_config(TrainConfig, made.recipe, overrides) == read
    assert {choice.key for choice in made.choices} == set(yaml.safe_load(made.recipe.read_text(encoding="utf-8")))


def test_nothing_is_left_to_chance(folder: Path, propose: Propose) -> None:
    first, second = propose(folder, out="one/run"), propose(folder, out="two/run")
    assert first.manifest.read_bytes() == second.manifest.read_bytes()
    texts = [made.recipe.read_text(encoding="utf-8").split("\nname:")[1] for made in (first, second)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 10, 14])
def test_whole_files_are_kept_for_validation(tmp_path: Path, propose: Propose, count: int) -> None:
    for number in range(count):
        write(tmp_path / "sharp", f"dish_{number}.tif", field(number))
    made = propose(tmp_path / "sharp")
    assert len(made.val) == (0 if count == 1 else max(1, count // 5))
    assert len(made.train) + len(made.val) == count and not set(made.train) & set(made.val)
    manifest = load_manifest(made.manifest)  # every file is there, with its checksum
    assert {one.id for one in manifest.of_split("val")} == set(made.val)
    assert any("nothing can be validated" in note for note in made.notes) == (count == 1)


def test_a_copy_is_in_the_split_of_its_original(tmp_path: Path, propose: Propose) -> None:
    for number in range(3):
        write(tmp_path / "sharp", f"a{number}.tif", field(number))
    write(tmp_path / "sharp", "copy.tif", field(1).astype(np.uint16) * 3 + 7)
    made = propose(tmp_path / "sharp")
    assert set(made.train) >= {"a1", "copy"}
    assert made.val == ("a2",)
    assert any(note.startswith("copy shows the same field as a1") for note in made.notes)


def test_a_run_folder_is_gone_on_with(folder: Path, propose: Propose, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert known_recipe([folder], FACTOR, out) is None
    made = propose(folder)
    assert known_recipe([folder], FACTOR, out) == made.recipe
    with pytest.raises(OutputExistsError, match="already"):
        propose(folder)
    for images, factor in (([folder], (1, 4, 4)), ([tmp_path], FACTOR)):
        with pytest.raises(OutputExistsError, match="give another run folder"):
            known_recipe(images, factor, out)


def test_a_failure_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    def broken(config: TrainConfig, sources: list[Source]) -> Cost:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        configure([folder], FACTOR, tmp_path / "run", probe=broken)
    assert not list((tmp_path / "run").iterdir())
    with pytest.raises(ConfigError, match="did you mean"):
        configure([folder], FACTOR, tmp_path / "run", probe=probe, overrides=["model.prest=S"])
    assert not list((tmp_path / "run").iterdir())


# --- which images ----------------------------------------------------------------------------------------------------


def test_images_of_every_kind_are_listed(tmp_path: Path, propose: Propose) -> None:
    sharp = tmp_path / "sharp"
    write(sharp, "plane.tif", field(0))
    write(sharp, "two.ome.tif", np.stack([field(1), field(2)]), metadata={"axes": "CYX"})
    write(sharp / "deeper", "other place.tif", field(3))
    zarr.save_array(str(sharp / "store.zarr"), field(4))
    for z in range(3):
        write(sharp, f"scan_z{z}.tif", field(5 + z))
    made = propose(sharp)
    entry = read_entry(made.manifest)
    files = {one.id: [item.file for item in one.high] for one in entry.acquisitions}
    assert files == {
        "plane": ["plane.tif"],
        "two": ["two.ome.tif"],
        "scan": ["scan_z*.tif"],
        "store": ["store.zarr"],
        "deeper_other_place": ["deeper/other place.tif"],
    }
    assert load_manifest(made.manifest).acquisitions
    assert any("1 to 2 channels" in note for note in made.notes)
    write(sharp, "scan_z3.tif", field(8))
    with pytest.raises(InputError, match="SHA-256"):
        load_manifest(made.manifest)


def test_what_cannot_be_used_is_left_out_and_told(folder: Path, propose: Propose) -> None:
    write(folder, "colour.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    write(folder, "empty.tif", np.full((64, 64), 7, np.uint8))
    write(folder, "tiny.tif", field(7, 30))
    (folder / "broken.tif").write_bytes(b"II*\0 and no more")
    two = np.stack([field(8), np.zeros((100, 100), np.uint8)])
    write(folder, "half.ome.tif", two, metadata={"axes": "CYX"})
    made = propose(folder)
    told = {Path(line.split(": ")[0]).name: line for line in made.left_out}
    assert set(told) == {"colour.tif", "empty.tif", "tiny.tif", "broken.tif"}
    assert "--axes YXC" in told["colour.tif"] and "constant" in told["empty.tif"]
    assert "30 x 30" in told["tiny.tif"] and "32 x 32" in told["tiny.tif"]
    assert any("half.ome.tif: channel 1" in note and "constant" in note for note in made.notes)
    assert len(made.train + made.val) == 7


def test_axes_are_given_where_files_do_not_tell(tmp_path: Path, propose: Propose) -> None:
    stack = np.stack([field(number) for number in range(3)])
    write(tmp_path / "sharp", "plain.tif", stack, photometric="minisblack")
    write(tmp_path / "sharp", "plane.tif", field(5))
    made = propose(tmp_path / "sharp", axes="TYX")
    assert {one.id: one.axes for one in read_entry(made.manifest).acquisitions} == {"plain": "TYX", "plane": None}
    assert {fact.shape[0] for fact in made.facts} == {1, 3}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no image"),
        ({"empty.tif": np.zeros((64, 64), np.uint8)}, "none can be used.*\n.*constant"),
        ({"tiny.tif": CELL[:20, :20]}, "none can be used.*\n.*20 x 20"),
    ],
)
def test_a_folder_without_images_is_refused(
    tmp_path: Path, propose: Propose, files: dict[str, NDArray[np.uint8]], message: str
) -> None:
    (tmp_path / "sharp").mkdir()
    for name, image in files.items():
        write(tmp_path / "sharp", name, image)
    with pytest.raises(InputError, match=message):
        propose(tmp_path / "sharp")
    assert not (tmp_path / "run").exists()


def test_a_missing_folder_and_a_factor_of_one_are_refused(folder: Path, propose: Propose) -> None:
    with pytest.raises(MissingFileError, match="no_such"):
        propose(folder / "no_such")
    with pytest.raises(ConfigError, match="leaves the grid alone"):
        propose(folder, (1, 1, 1))
    with pytest.raises(InputError, match="1 planes are fewer than 8"):
        propose(folder, (2, 2, 2))


def test_a_single_series_of_files_is_divided_at_its_end(tmp_path: Path, propose: Propose) -> None:
    random = np.random.default_rng(0)
    for z in range(10):
        write(tmp_path / "sharp", f"vol_z{z:02}.tif", random.integers(0, 255, (64, 64)).astype(np.uint8))
    made = propose(tmp_path / "sharp")
    entry = read_entry(made.manifest)
    assert [(one.id, one.split, len(one.high)) for one in entry.acquisitions] == [
        ("vol", "train", 8),
        ("vol-end", "val", 2),
    ]
    assert entry.acquisitions[1].high[-1].file == "vol_z09.tif"
    assert any("same specimen" in note for note in made.notes)


# --- what is chosen --------------------------------------------------------------------------------------------------


def stack_of(likeness: float, frames: int = 6, seed: int = 0) -> NDArray[np.uint8]:
    """Return frames whose structure is that share alike from one to the next."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    images = [random.normal(size=(96, 96))]
    for _ in range(frames - 1):
        images.append(likeness * images[-1] + np.sqrt(1 - likeness**2) * random.normal(size=(96, 96)))
    smooth = np.stack([gaussian_filter(image, 2.5) for image in images])
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("axes", "axis"), [("ZYX", "z"), ("TYX", "t")])
@pytest.mark.parametrize(("likeness", "has_context"), [(0.9, True), (0.1, False)])
def test_neighbours_are_used_where_they_are_alike(
    tmp_path: Path, propose: Propose, axes: str, axis: str, likeness: float, has_context: bool
) -> None:
    for number in range(2):
        write(tmp_path / "sharp", f"s{number}.ome.tif", stack_of(likeness, seed=number), metadata={"axes": axes})
    made = propose(tmp_path / "sharp")
    (found,) = {getattr(fact, "planes_alike" if axis == "z" else "times_alike") > 0.5 for fact in made.facts}
    assert found == has_context
    context = made.config.model.context
    assert (context is not None and context.axis == axis) == has_context


def test_a_factor_along_z_takes_three_dimensions(tmp_path: Path, propose: Propose) -> None:
    for number in range(2):
        write(tmp_path / "sharp", f"s{number}.ome.tif", stack_of(0.9, 20, number), metadata={"axes": "ZYX"})
    config = propose(tmp_path / "sharp", (2, 2, 2)).config
    assert (config.model.dimensions, config.model.preset, config.patch.depth) == (3, "XS", 8)
    assert config.degrade[0].blur is not None and config.degrade[0].blur.axial_sigma == (0.6, 1.4)


def test_what_was_given_wins_and_is_told(folder: Path, propose: Propose) -> None:
    made = propose(folder, overrides=["model.preset=L", "time_budget=3min", "degrade=[{downsample: binning}]"])
    assert (made.config.model.preset, made.config.time_budget, len(made.config.degrade)) == ("L", 180, 1)
    reasons = {choice.key: choice.reason for choice in made.choices}
    assert "Given" in reasons["model"] and "Given" in reasons["time_budget"] and "Given" in reasons["degrade"]
    assert "Given" not in reasons["patch"] and made.seconds == 180


def test_a_slow_machine_gets_a_small_net_and_fewer_steps(folder: Path, tmp_path: Path) -> None:
    def slow(config: TrainConfig, sources: list[Source]) -> Cost:
        return replace(probe(config, sources), seconds=5.0)

    quick = configure([folder], FACTOR, tmp_path / "quick", probe=probe).config
    patient = configure([folder], FACTOR, tmp_path / "slow", probe=slow)
    assert (quick.model.preset, quick.steps) == ("S", 2000)
    assert patient.config.model.preset == "XS"
    assert patient.config.steps == 500 and patient.seconds <= 3600


def test_low_recordings_are_fitted(tmp_path: Path) -> None:
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    values = gaussian_filter(random.normal(size=(192, 192)), 4)
    light = 200 * np.clip(values / values.std() + 0.5, 0, None)
    blurred = gaussian_filter(light, 1.5).reshape(96, 2, 96, 2).mean(axis=(1, 3))
    low = random.poisson(blurred) + 100 + 2 * random.normal(size=blurred.shape)
    write(tmp_path / "sharp", "sharp.tif", light.astype(np.float32))
    write(tmp_path / "low", "low.tif", low.astype(np.float32))
    made = configure([tmp_path / "sharp"], FACTOR, tmp_path / "run", low=[str(tmp_path / "low")], probe=probe)
    assert made.fit is not None
    assert "degrade: microscope.yaml" in made.recipe.read_text(encoding="utf-8")
    blur = made.config.degrade[0].blur
    assert blur is not None and blur.sigma is not None and blur.sigma[0] < 1.5 < blur.sigma[1]
