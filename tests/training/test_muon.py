"""Muon: steps of orthogonal matrices, for the kernels of the body alone, and exact over a stop."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from superres.config import MuonConfig, OptimiserConfig, TrainConfig
from superres.errors import Cancelled
from superres.modelfile import load_model_file
from superres.nets import Architecture, UNet, place
from superres.progress import Progress
from superres.training import train
from superres.training.finder import find_learning_rate
from superres.training.muon import Muon, MuonAndAdamW, kernels_of, orthogonalised
from superres.training.run import optimiser_tensors, restore_optimiser
from superres.training.state import make_optimiser

MakeConfig = Callable[..., TrainConfig]
MUON = OptimiserConfig(kind="muon")


def thin_net(**options: object) -> UNet:
    torch.manual_seed(0)
    kind = {"widths": (8, 12), "blocks": 1, "middle_blocks": 1, "channels": 1, "consistency_sigma": 0.0}
    net = UNet(Architecture(factor=(1, 2, 2), interval=True, **kind | options))  # type: ignore[arg-type]
    return place(net, torch.device("cpu"))


def learn(net: UNet, optimiser: torch.optim.AdamW | MuonAndAdamW, steps: int) -> None:
    """Do steps on patches that depend on their number alone."""
    for step in range(steps):
        low = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad(set_to_none=True)
        pred, below, above = net.with_interval(low)
        (pred.square().mean() + below.mean() + above.mean()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@given(st.integers(2, 24), st.integers(2, 24), st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_singular_values_come_near_to_1_and_vectors_stay(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    count = min(rows, columns)
    left, right = (
        torch.linalg.qr(torch.randn(n, count, generator=generator, dtype=torch.float64))[0] for n in (rows, columns)
    )
    values = 0.2 + 0.8 * torch.rand(count, generator=generator, dtype=torch.float64)
    found = left.T @ orthogonalised(((left * values) @ right.T)[None])[0] @ right
    assert float(found.diagonal().min()) > 0.65
    assert float(found.diagonal().max()) < 1.25
    torch.testing.assert_close(found, torch.diag(found.diagonal()), atol=1e-9, rtol=0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
def test_steps_agree_with_torch_on_matrices() -> None:
    """Torch computes in bfloat16: a step of 1 agrees to a few hundredths."""
    starts = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((12, 40), (40, 12), (8, 8))]
    ours, theirs = ([nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    mine = Muon([{"params": ours}], lr=0.1, momentum=0.9, weight_decay=0.3)
    reference = torch.optim.Muon(theirs, lr=0.1, momentum=0.9, weight_decay=0.3)
    for step in range(4):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            one.grad = torch.randn(one.shape, generator=torch.Generator().manual_seed(10 * step + number))
            other.grad = one.grad.clone()
        mine.step()
        reference.step()  # type: ignore[no-untyped-call]
    for one, other, start in zip(ours, theirs, starts, strict=True):
        moved = float((other - start).detach().norm())
        assert float((one - other).detach().norm()) < 0.03 * moved


def test_a_kernel_is_the_matrix_of_its_filters() -> None:
    start = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel, matrix = nn.Parameter(start.to(memory_format=torch.channels_last)), nn.Parameter(start.flatten(1))
    gradient = torch.randn(start.shape, generator=torch.Generator().manual_seed(1))
    kernel.grad, matrix.grad = gradient.to(memory_format=torch.channels_last), gradient.flatten(1)
    Muon([{"params": [kernel]}, {"params": [matrix]}], lr=0.1, momentum=0.9, weight_decay=0.0).step()
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach(), atol=1e-6, rtol=0)


def test_only_kernels_of_the_body_are_muons() -> None:
    net = thin_net(norm="weight", attention=True)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    chosen = {names[id(kernel)] for kernel in kernels_of(net)}
    assert "encoder.0.0.second.weight" in chosen
    assert {"down.0.weight", "up.0.conv.weight", "attention.query.weight"} <= chosen
    assert not any(name.startswith(("stem", "tail", "interval_head")) or name.endswith("bias") for name in chosen)
    assert not any(name.endswith("original0") for name in chosen), "the lengths of weight norm are no matrix"
    optimiser = make_optimiser(net, MUON)
    held = [names[id(p)] for group in optimiser.param_groups for p in group["params"]]
    assert sorted(held) == sorted(names.values()), "every parameter once"
    muons = [group for group in optimiser.param_groups if "momentum" in group]
    assert {names[id(p)] for group in muons for p in group["params"]} == chosen
    assert muons[0]["factor"] * MUON.learning_rate == pytest.approx(MUON.muon.learning_rate)


def test_groups_keep_what_they_hold_beside_their_parameters() -> None:
    one, other = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3))
    groups = [{"params": [one, other], "factor": 0.5, "weight_decay": 0.5}]
    settings = MuonConfig(weight_decay=0.25)
    optimiser = MuonAndAdamW(groups, [one], settings, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    adamw, muon = optimiser.param_groups
    assert (adamw["factor"], adamw["weight_decay"]) == (0.5, 0.5)
    assert (muon["factor"], muon["weight_decay"]) == (pytest.approx(0.5 * 20), 0.25)


def test_restored_goes_on_as_before() -> None:
    net = thin_net()
    optimiser = make_optimiser(net, MUON)
    learn(net, optimiser, 2)
    again = copy.deepcopy(net)
    other = make_optimiser(again, MUON)
    tensors = {name: value.clone().contiguous() for name, value in optimiser_tensors(optimiser).items()}
    restore_optimiser(other, tensors)
    learn(net, optimiser, 2)
    learn(again, other, 2)
    for (name, expected), found in zip(net.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(found, expected), name


def test_weights_without_a_gradient_stay() -> None:
    net = thin_net()
    optimiser = make_optimiser(net, MUON)
    learn(net, optimiser, 1)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    for parameter in net.encoder.parameters():
        parameter.requires_grad_(False)
    learn(net, optimiser, 1)
    moved = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert not any(name.startswith("encoder.") for name in moved)
    assert "decoder.0.0.second.weight" in moved


def test_a_training_resumed_or_repeated_makes_the_same_file(
    make_config: MakeConfig, tmp_path: Path, without_domain: None
) -> None:
    config = make_config(
        optimiser={"kind": "muon", "muon": {"weight_decay": 0.1}}, steps=4, preset="quantitative", phases=[]
    )

    def stop(event: Progress) -> None:
        if event.note == "step 3":
            raise Cancelled("stopped")

    whole = train(config, tmp_path / "whole")
    with pytest.raises(Cancelled):
        train(config, tmp_path / "stopped", progress=stop)
    resumed = train(config, tmp_path / "stopped")
    digests = {hashlib.sha256(result.model.read_bytes()).hexdigest() for result in (whole, resumed)}
    assert len(digests) == 1
    found = load_model_file(whole.model)
    assert found.header.training["config"]["optimiser"]["kind"] == "muon"


def test_settings_of_muon_without_muon_are_refused() -> None:
    with pytest.raises(ValidationError, match="belong to kind: muon"):
        OptimiserConfig(kind="adamw", muon=MuonConfig(learning_rate=0.01))


def test_the_finder_of_rates_finds_both_in_the_proportion_of_the_recipe(make_config: MakeConfig) -> None:
    found = find_learning_rate(
        make_config(optimiser={"learning_rate": 1e-3, "muon": {"learning_rate": 0.04}}), steps=30
    )
    assert found.muon == pytest.approx(40 * found.proposed, rel=0.06)
    alone = find_learning_rate(make_config(optimiser={"kind": "adamw"}), steps=30)
    assert alone.muon is None and not np.array_equal(alone.losses[:10], found.losses[:10])
