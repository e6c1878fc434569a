"""What goes wrong in a training is said, and what was done before stays whole."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from superres.config import TrainConfig
from superres.errors import InputError, OutputWriteError, SuperresError
from superres.modelfile import load_model_file
from superres.nets import UNet, choose_device
from superres.training import train
from superres.training.run import RunFolder

MakeConfig = Callable[..., TrainConfig]

pytestmark = pytest.mark.usefixtures("without_domain")


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Let writing fail as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_good_checkpoint(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(validate_every=100, sample_every=100, steps=4)
    whole = train(config, tmp_path / "whole")
    saved = RunFolder.save_checkpoint
    with pytest.MonkeyPatch.context() as patch:

        def fill_up(folder: RunFolder, tensors: dict[str, Tensor], state: dict[str, object]) -> None:
            if state["step"] == 2:
                saved(folder, tensors, state)
                return
            with files_no_longer_than(1 << 16):
                saved(folder, tensors, state)

        patch.setattr(RunFolder, "save_checkpoint", fill_up)
        with pytest.raises(OutputWriteError, match="free some space and run again to go on"):
            train(config, tmp_path / "full")
    assert not list((tmp_path / "full").glob("*.partial"))
    assert (tmp_path / "full" / "checkpoint.safetensors").is_file()
    resumed = train(config, tmp_path / "full")
    one, other = load_model_file(whole.model), load_model_file(resumed.model)
    for name, value in one.weights.items():
        np.testing.assert_array_equal(other.weights[name], value, err_msg=name)


def test_a_line_of_figures_that_was_cut_short_is_forgotten(make_config: MakeConfig, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", make_config())
    folder.log({"step": 1})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert folder.records() == [{"step": 1}]
    with pytest.raises(OutputWriteError, match=r"metrics\.jsonl"), files_no_longer_than(10):
        folder.log({"step": 2})


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory")]
)
def test_out_of_memory_halves_the_batch_says_so_and_goes_on(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    forward = UNet._features

    def narrow(net: UNet, low: Tensor) -> Tensor:
        if net.training and len(low) > 2:
            raise error
        return forward(net, low)

    monkeypatch.setattr(UNet, "_features", narrow)
    config = make_config(patch={"size": 16, "batch": 8}, steps=2, preset="quantitative", phases=())
    with pytest.warns(UserWarning, match="out of memory at step 1: going on with") as caught:
        result = train(config, tmp_path / "run")
    assert [" 4 patches" in str(item.message) for item in caught] == [True, False]
    assert result.steps == 2
    assert "2 patches per step in the end" in " ".join(result.notes)


def test_no_memory_for_one_patch_is_an_error(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(net: UNet, low: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(UNet, "_features", never)
    config = make_config(preset="quantitative", phases=())
    with pytest.warns(UserWarning, match="going on with 1"), pytest.raises(SuperresError, match=r"smaller patch\.size"):
        train(config, tmp_path / "run")
    with pytest.raises(SuperresError, match="out of memory between two steps"):
        train(make_config(), tmp_path / "before_the_first_step")


def test_steps_with_gradients_that_are_not_finite_are_counted(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superres.training import losses

    charbonnier, calls = losses.charbonnier, iter(range(100))

    def sometimes(pred: Tensor, high: Tensor, epsilon: float) -> Tensor:
        value = charbonnier(pred, high, epsilon)
        return value * float("nan") if next(calls) == 1 else value

    monkeypatch.setattr("superres.training.losses.charbonnier", sometimes)
    result = train(make_config(), tmp_path / "run")
    assert "1 steps with non-finite gradients were skipped" in result.notes
    assert all(np.isfinite(value).all() for value in load_model_file(result.model).weights.values())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(lines[-1]["charbonnier"])


def test_no_sharp_image_to_learn_from_is_said(make_config: MakeConfig, manifest: Path, tmp_path: Path) -> None:
    manifest.write_text(manifest.read_text().replace("split: train", "split: test"))
    with pytest.raises(InputError, match=r"manifest\.yaml: no sharp image to learn from.*'split: train'"):
        train(make_config(), tmp_path / "run")


def test_images_smaller_than_a_patch_are_named(make_config: MakeConfig, tmp_path: Path) -> None:
    result = train(make_config(patch={"size": 160, "batch": 1}, steps=1), tmp_path / "run")
    assert "top: 256 x 256 voxels (Y, X) are fewer than the 320 x 320 of a patch" in " ".join(result.notes)


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps"])
def test_a_device_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name == "cuda:7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SuperresError, match=f"device {name}: .*use device="):
        choose_device(name)
