"""The workflow goes from a folder of acquisitions to a report, and does nothing twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
import yaml

from superres.volumes import open_volume

PROJECT = Path(__file__).parents[2]
SNAKEFILE = PROJECT / "pipelines" / "workflow" / "Snakefile"
SMALL = {
    "model.preset": "XS",
    "preset": "quantitative",
    "steps": 2,
    "time_budget": "null",
    "patch.size": 16,
    "patch.batch": 1,
    "validate_every": 2,
    "device": "cpu",
}
TRAIN = " ".join(f"--set {key}={value}" for key, value in SMALL.items())
EVALUATE = "--set 'baselines=[nearest,bicubic]' --set planes=1 --set device=cpu"
NOTHING = "Nothing to be done"

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Workflow:
    """The workflow in a folder of its own, where ``my.yaml`` holds its settings."""

    folder: Path
    environment: dict[str, str]

    def try_run(self, *options: str) -> subprocess.CompletedProcess[str]:
        words = ["snakemake", "-s", str(SNAKEFILE), "--configfile", "my.yaml", "--cores", "1", *options]
        return subprocess.run(
            words, cwd=self.folder, env=self.environment, text=True, stdout=-1, stderr=subprocess.STDOUT, check=False
        )

    def run(self, *options: str) -> str:
        done = self.try_run(*options)
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    def settings(self, **values: object) -> None:
        (self.folder / "my.yaml").write_text(yaml.safe_dump({"out": "results", **values}))


MakeWorkflow = Callable[[], Workflow]


@pytest.fixture(scope="module")
def make_workflow(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> MakeWorkflow:
    if shutil.which("snakemake", path=environment["PATH"]) is None:
        pytest.skip("needs Snakemake: pip install snakemake")

    def make() -> Workflow:
        folder = tmp_path_factory.mktemp("workflow")
        return Workflow(folder, environment | {"XDG_CACHE_HOME": str(folder / "cache")})

    return make


@pytest.fixture(scope="module")
def finished(make_workflow: MakeWorkflow) -> Workflow:
    """Return a workflow that ran on sharp images and on two recordings, of which one is broken."""
    workflow = make_workflow()
    image = skimage.data.cell().astype(np.float32)
    rng = np.random.default_rng(0)
    for number, (y, x) in enumerate([(0, 0), (200, 100)]):
        save(workflow.folder / "sharp" / f"{number}.tif", image[y : y + 160, x : x + 160])
    low = image[300:396, 60:156].reshape(48, 2, 48, 2).mean((1, 3))
    save(workflow.folder / "fast" / "day one" / "a.tif", rng.poisson(low))
    (workflow.folder / "fast" / "broken.tif").write_bytes(b"II*\0nothing")
    workflow.settings(
        images="sharp",
        factor=2,
        recorded="fast/day one/a.tif",
        recordings="fast",
        prepare_options=TRAIN,
        evaluate_options=EVALUATE,
    )
    workflow.run()
    return workflow


def save(path: Path, image: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image.clip(0, 255).astype(np.uint8))


def written(folder: Path) -> dict[Path, int]:
    """Return when every file was written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def rules(output: str) -> set[str]:
    """Return the rules of the table of jobs that a dry run prints."""
    table = output.split("Job stats:")[1].split("\n\n")[0].splitlines()
    return {line.split()[0] for line in table[3:] if line.strip()} - {"total", "all"}


def test_a_folder_of_acquisitions_becomes_a_report(finished: Workflow) -> None:
    results = finished.folder / "results"
    assert open_volume(results / "upscaled" / "day one" / "a.ome.zarr").shape == (1, 1, 1, 96, 96)
    report = (results / "report.md").read_text()
    for text in ("day one/a.tif", "fast/broken.tif: ", "upscaled/day one/a.ome.zarr", "| superres |", "1 acquisition)"):
        assert text in report
    assert (results / "evaluation" / "report.html").is_file()
    # What was measured on the recordings is what the model was trained with.
    (config,) = results.glob("runs/*/config.yaml")
    measured = yaml.safe_load((results / "microscope.yaml").read_text())["degrade"]
    assert [next(iter(step)) for step in measured] == [
        key for step in yaml.safe_load(config.read_text())["degrade"] for key, value in step.items() if value
    ]


def test_a_second_run_has_nothing_to_do(finished: Workflow) -> None:
    before = written(finished.folder / "results")
    assert NOTHING in finished.run()
    assert written(finished.folder / "results") == before


def test_a_job_that_was_stopped_goes_on_with_what_it_has(finished: Workflow) -> None:
    upscaled = finished.folder / "results" / "upscaled" / "day one"
    (upscaled / "a.json").unlink()  # as Snakemake does with the outputs of a job that failed or was killed
    shards = written(upscaled / "a.ome.zarr" / "0")
    finished.run("results/upscaled/day one/a.json")
    (summary,) = json.loads((upscaled / "a.json").read_text())["written"]
    assert summary["units_done_before"] == summary["units"] > 0
    assert written(upscaled / "a.ome.zarr" / "0") == shards


def test_a_new_recording_needs_no_new_model(finished: Workflow) -> None:
    save(finished.folder / "fast" / "b.tif", skimage.data.cell()[:48, :48])
    # Which acquisitions there are is known when they have been listed.
    assert rules(finished.run("-n")) == {"find_recordings", "report"}


def test_the_profile_for_slurm_asks_for_gpus(finished: Workflow) -> None:
    told = finished.run("-n", "--forceall", "--profile", str(SNAKEFILE.parent / "profiles" / "slurm"))
    # Those of acquisitions are known when they have been listed.
    jobs = {text.split(":")[0]: text for text in re.split(r"^rule ", told, flags=re.MULTILINE)[1:]}
    assert {name for name, text in jobs.items() if "gres=gpu:1" in text} == {"prepare", "train", "evaluate"}
    assert "slurm_partition=cpu" in jobs["fit_degradation"]
    assert "runtime=480" in jobs["train"]


def test_the_model_that_a_training_starts_from_is_watched(make_workflow: MakeWorkflow) -> None:
    workflow = make_workflow()
    recipe = {"name": "tuned", "manifests": "images.yaml", "factor": [1, 2, 2], "start_from": "parent"}
    for name in ("recipe.yaml", "images.yaml", "parent/model.safetensors"):
        path = workflow.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(recipe))
    workflow.settings(recipe="recipe.yaml")
    (train,) = re.findall(r"^rule train:\n    input: (.*)", workflow.run("-n"), flags=re.MULTILINE)
    assert "parent/model.safetensors" in train.split(", ")


@pytest.mark.realdata
def test_a_recipe_and_real_images(make_workflow: MakeWorkflow, data_root: Path) -> None:
    workflow = make_workflow()
    workflow.environment["SUPERRES_DATA"] = str(data_root)
    manifest = yaml.safe_load((PROJECT / "data_manifests" / "em.yaml").read_text())
    kept = [next(one for one in manifest["acquisitions"] if one["split"] == split) for split in ("train", "val")]
    for acquisition in kept:
        acquisition["high"] = acquisition["high"][:1]
    (workflow.folder / "em.yaml").write_text(yaml.safe_dump(manifest | {"acquisitions": kept}))
    recipe = yaml.safe_load((PROJECT / "pipelines" / "em_x4.yaml").read_text())
    recipe.pop("phases")
    (workflow.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"manifests": "em.yaml"}))
    (workflow.folder / "fast").mkdir()
    low = open_volume(data_root / kept[1]["high"][0]["file"]).levels[0][0, 0, 0, :64, :64].compute()
    save(workflow.folder / "fast" / "field.tif", low)
    options = {"train_options": TRAIN, "evaluate_options": EVALUATE}
    workflow.settings(recipe="recipe.yaml", recordings="fast/field.tif", **options)
    workflow.run()
    results = workflow.folder / "results"
    assert open_volume(results / "upscaled" / "field.ome.zarr").shape == (1, 1, 1, 256, 256)
    assert kept[1]["id"] in (results / "report.md").read_text()
    assert NOTHING in workflow.run()


def test_what_the_readme_sets_is_there() -> None:
    known = yaml.safe_load((SNAKEFILE.parent / "settings.yaml").read_text()).keys()
    readme = (PROJECT / "pipelines" / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(# my.yaml\n.*?)```", readme, flags=re.DOTALL)
    assert yaml.safe_load(block).keys() <= known
    lines = [line.split()[1:] for line in readme.splitlines() if line.startswith("$RUN ")]
    assert len(lines) == 5
    for pairs in (dict(word.split("=") for word in line) for line in lines):
        assert pairs.keys() <= known
        assert (PROJECT / pairs["recipe"]).is_file()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"images": "sharp", "factor": 2, "recording": "fast"}, "unknown settings recording"),
        ({"images": ".", "factor": 2}, "results would be taken for images"),
    ],
)
def test_wrong_settings_are_refused_at_once(
    make_workflow: MakeWorkflow, settings: dict[str, object], told: str
) -> None:
    workflow = make_workflow()
    workflow.settings(**settings)
    done = workflow.try_run("-n")
    assert done.returncode != 0
    assert told in done.stdout
    assert not (workflow.folder / "results").exists()
