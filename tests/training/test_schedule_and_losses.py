from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from superres.config import OptimiserConfig
from superres.nets import FeatureNet
from superres.training import losses
from superres.training.schedule import one_cycle, scheduled

CONFIG = OptimiserConfig()


@given(st.floats(0, 1))
def test_one_cycle_stays_in_its_bounds(share: float) -> None:
    rate, momentum = one_cycle(share, CONFIG)
    assert 0 <= rate <= CONFIG.learning_rate
    assert CONFIG.momentum[0] <= momentum <= CONFIG.momentum[1]


def test_one_cycle_peaks_after_the_warm_up_with_inverse_momentum() -> None:
    assert one_cycle(CONFIG.warmup, CONFIG) == pytest.approx((CONFIG.learning_rate, CONFIG.momentum[0]))
    assert one_cycle(0, CONFIG) == pytest.approx((CONFIG.learning_rate / 25, CONFIG.momentum[1]))
    assert one_cycle(1, CONFIG) == pytest.approx((0, CONFIG.momentum[1]))


@given(st.floats(0, 1))
def test_schedules_warm_up_alike_and_part_afterwards(share: float) -> None:
    one, cosine, constant = (
        scheduled(share, OptimiserConfig(schedule=name)) for name in ("one-cycle", "cosine", "constant")
    )
    assert one == one_cycle(share, CONFIG), "the default, bit for bit"
    assert cosine == (one[0], CONFIG.momentum[1])
    assert constant == (one[0] if share < CONFIG.warmup else CONFIG.learning_rate, CONFIG.momentum[1])


def test_ends_of_the_schedules() -> None:
    ends = {name: scheduled(1, OptimiserConfig(schedule=name))[0] for name in ("one-cycle", "cosine", "constant")}
    assert ends == pytest.approx({"one-cycle": 0, "cosine": 0, "constant": CONFIG.learning_rate})
    assert scheduled(0.55, OptimiserConfig(schedule="cosine"))[0] == pytest.approx(CONFIG.learning_rate / 2)
    assert scheduled(0.5, OptimiserConfig(schedule="constant", warmup=0))[0] == CONFIG.learning_rate


def test_every_loss_is_least_where_prediction_is_truth() -> None:
    torch.manual_seed(0)
    high = torch.rand(2, 1, 32, 32)
    net = FeatureNet().eval().requires_grad_(False)
    for distance in (
        lambda pred: losses.charbonnier(pred, high, 1e-3),
        lambda pred: losses.frequency(pred, high),
        lambda pred: losses.perceptual(pred, high, net, (), {"feature"})["feature"],
        lambda pred: losses.perceptual(pred, high, net, (), {"gram"})["gram"],
    ):
        assert float(distance(high)) < 2e-3
        assert float(distance(high + 0.1 * torch.randn_like(high))) > 10 * float(distance(high))


def test_gradients_are_finite_where_prediction_is_truth() -> None:
    pred = torch.zeros(1, 1, 16, 16, requires_grad=True)
    (losses.charbonnier(pred, pred.detach(), 1e-3) + losses.frequency(pred, pred.detach())).backward()
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()


def test_calibrated_features_have_mean_one_on_sharp_images() -> None:
    torch.manual_seed(0)
    net, sharp = FeatureNet(), torch.rand(4, 1, 32, 32)
    net.calibrate(sharp)
    for stage in net.features(sharp):
        alive = stage.mean(dim=(0, 2, 3)) > 0.01
        torch.testing.assert_close(stage.mean(dim=(0, 2, 3))[alive], torch.ones(int(alive.sum())), atol=1e-3, rtol=0)
