"""Settings: YAML in and out are inverse, overrides win, and every fault is named with what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from superres.config import (
    Augment,
    Blur,
    DegradeStep,
    IntensityRule,
    LossConfig,
    ModelConfig,
    Settings,
    TrainConfig,
    UpscaleConfig,
    check_degrade,
    dump_config,
    load_config,
)
from superres.errors import ConfigError, MissingFileError, SuperresError
from superres.evaluation.settings import EvaluateConfig

BINNING = DegradeStep(downsample="binning")
MINIMAL: dict[str, Any] = {"manifests": ["m.yaml"], "factor": [1, 4, 4], "steps": 10}

ranges = st.tuples(st.floats(0, 10), st.floats(0, 10)).map(lambda pair: (min(pair), max(pair)))
noise_steps = st.one_of(
    ranges.map(lambda r: DegradeStep.model_validate({"blur": {"sigma": r}})),
    ranges.map(lambda r: DegradeStep.model_validate({"blur": {"na": 1.4, "wavelength": r}})),
    ranges.map(lambda r: DegradeStep.model_validate({"poisson": {"photons": r}})),
    st.tuples(ranges, ranges, ranges).map(
        lambda r: DegradeStep.model_validate({"read_noise": {"sd": r[0], "gain": r[1], "offset": r[2]}})
    ),
    ranges.map(lambda r: DegradeStep.model_validate({"line_jitter": {"sd": r}})),
)
train_configs = st.builds(
    TrainConfig,
    name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z"),
    manifests=st.lists(st.from_regex(r"\A[a-zäµ 0-9]{1,9}\.yaml\Z").map(Path), min_size=1, max_size=3).map(tuple),
    data_root=st.none() | st.just(Path("/data/micro scope")),
    factor=st.tuples(st.just(1), st.integers(2, 16), st.integers(1, 16)),
    seed=st.integers(0, 2**63),
    device=st.sampled_from(["auto", "cpu", "cuda", "cuda:1", "mps"]),
    model=st.builds(ModelConfig, preset=st.sampled_from(["S", "M", "L"]), consistency_sigma=st.floats(0, 8)),
    degrade=st.lists(noise_steps, max_size=3).map(lambda steps: (*steps, BINNING)),
    augment=st.builds(Augment, flips=st.booleans(), contrast=ranges, rectangle=st.floats(0, 1)),
    intensity=st.builds(IntensityRule, percentiles=ranges, average=st.integers(1, 9)),
    loss=st.builds(LossConfig, charbonnier_epsilon=st.floats(1e-9, 1.0)),
    preset=st.sampled_from([None, "quantitative", "balanced", "display"]),
    steps=st.none() | st.integers(1, 10**7),
    time_budget=st.floats(1e-3, 1e6),
)


@settings(max_examples=60)
@given(config=train_configs)
def test_yaml_round_trip_changes_nothing(config: TrainConfig) -> None:
    again = TrainConfig.model_validate(yaml.safe_load(dump_config(config)))
    assert again == config
    assert dump_config(again) == dump_config(config)


@pytest.mark.parametrize(
    "config",
    [
        UpscaleConfig(model=Path("m.safetensors"), voxel_size=(0.3, 0.1, 0.1), channels=(0, 2), tile=64),
        EvaluateConfig(manifests=(Path("a.yaml"), Path("b.yaml")), factor=(1, 2, 2), degrade=(BINNING,)),
        EvaluateConfig(manifests=(Path("a.yaml"),)),
    ],
)
def test_other_settings_round_trip(config: Settings) -> None:
    assert type(config).model_validate(yaml.safe_load(dump_config(config))) == config


def test_settings_are_frozen() -> None:
    config = TrainConfig.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


def all_groups(kind: type[Settings], seen: set[type[BaseModel]] | None = None) -> set[type[BaseModel]]:
    seen = set() if seen is None else seen
    if kind not in seen:
        seen.add(kind)
        for field in kind.model_fields.values():
            for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(inner, type) and issubclass(inner, Settings):
                    all_groups(inner, seen)
    return seen


@pytest.mark.parametrize("kind", [TrainConfig, UpscaleConfig, EvaluateConfig])
def test_every_group_refuses_unknown_keys(kind: type[Settings]) -> None:
    for group in all_groups(kind):
        assert group.model_config["extra"] == "forbid"
        assert group.model_config["frozen"]


# --- recipes and overrides -------------------------------------------------------------------------------------------


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | changes), encoding="utf-8")
    return path


def test_manifests_are_relative_to_the_recipe(tmp_path: Path) -> None:
    config = load_config(TrainConfig, recipe(tmp_path, manifests=["sub/a.yaml", "/absolute/b.yaml"]))
    assert config.manifests == (tmp_path / "sub/a.yaml", Path("/absolute/b.yaml"))


def test_one_manifest_may_stand_without_a_list(tmp_path: Path) -> None:
    assert load_config(TrainConfig, recipe(tmp_path, manifests="a.yaml")).manifests == (tmp_path / "a.yaml",)


def test_overrides_win_over_values_win_over_recipe(tmp_path: Path) -> None:
    path = recipe(tmp_path, seed=1, name="one")
    assert load_config(TrainConfig, path).seed == 1
    assert load_config(TrainConfig, path, seed=2).seed == 2
    config = load_config(TrainConfig, path, ["seed=3", "seed=4"], seed=2, name=None)
    assert (config.seed, config.name) == (4, "one")


def test_overrides_keep_the_rest_of_their_group(tmp_path: Path) -> None:
    path = recipe(tmp_path, patch={"size": 32, "batch": 4})
    config = load_config(TrainConfig, path, ["patch.batch=2", "optimiser.learning_rate=1e-4"])
    assert (config.patch.size, config.patch.batch) == (32, 2)
    assert config.optimiser.learning_rate == pytest.approx(1e-4)


@given(steps=st.integers(1, 10**9), rate=st.floats(1e-9, 1.0), flips=st.booleans())
def test_overrides_are_read_as_yaml(steps: int, rate: float, flips: bool) -> None:
    values = [f"steps={steps}", f"optimiser.learning_rate={rate!r}", f"augment.flips={str(flips).lower()}"]
    config = load_config(TrainConfig, None, ["manifests=[a.yaml]", "factor=[1,2,2]", *values])
    assert (config.steps, config.optimiser.learning_rate, config.augment.flips) == (steps, rate, flips)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10min", 600), ("1.5h", 5400), (" 2 min ", 120), ("45", 45), (45, 45), ("0.5 sec", 0.5)],
)
def test_times_are_read_with_their_unit(text: object, seconds: float) -> None:
    assert TrainConfig.model_validate(MINIMAL | {"time_budget": text}).time_budget == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["10 minutes", "min", "-5s", "0s", "1d"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="time_budget"):
        TrainConfig.model_validate(MINIMAL | {"time_budget": text})


def test_one_number_is_a_range_of_that_number() -> None:
    step = DegradeStep.model_validate({"poisson": {"photons": 100}})
    assert step.poisson is not None
    assert step.poisson.photons == (100.0, 100.0)


# --- faults ----------------------------------------------------------------------------------------------------------


def fault(path: Path | None, *overrides: str, kind: type[Settings] = TrainConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(kind, path, overrides)
    return str(caught.value)


def test_a_misspelt_key_names_its_neighbour(tmp_path: Path) -> None:
    message = fault(recipe(tmp_path, model={"presett": "S"}))
    assert message.startswith(f"{tmp_path / 'recipe.yaml'}: 1 wrong setting\n")
    assert "model.presett: unknown key; did you mean preset?" in message


def test_an_unknown_key_far_from_all_lists_them(tmp_path: Path) -> None:
    assert "known keys: preset, consistency_sigma" in fault(recipe(tmp_path), "model.zzz=1")


def test_a_misspelt_key_inside_a_step_is_named(tmp_path: Path) -> None:
    message = fault(recipe(tmp_path, degrade=[{"downsample": "binning"}, {"poisson": {"photon": 3}}]))
    assert "degrade.1.poisson.photon: unknown key; did you mean photons?" in message


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    message = fault(recipe(tmp_path, seed="many", patch={"size": 1}, loss={"charbonnier_epsilon": 0}))
    assert "3 wrong settings" in message
    for where in ("seed", "patch.size", "loss.charbonnier_epsilon"):
        assert f"  {where}: " in message
    assert "(got 'many')" in message


def test_a_missing_setting_says_what_to_type(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: 5\n", encoding="utf-8")
    message = fault(path)
    assert "manifests: missing" in message
    assert "--set factor=..." in message


def test_a_training_without_length_is_refused(tmp_path: Path) -> None:
    assert "time_budget (such as 10min)" in fault(recipe(tmp_path, steps=None))


def test_ranges_ascend(tmp_path: Path) -> None:
    assert "contrast: a range is [smallest, largest]" in fault(recipe(tmp_path), "augment.contrast=[2,1]")


@pytest.mark.parametrize(
    ("content", "says"),
    [("a: [1", "not valid YAML"), ("- a\n- b\n", "found list"), ("", "found NoneType"), ("just words", "found str")],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8")
    message = fault(path)
    assert message.startswith(f"{path}: ")
    assert says in message


def test_a_binary_file_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"II*\0\xff\xfe\x80")
    assert "not valid YAML" in fault(path)


def test_a_missing_recipe_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such recipe") as caught:
        load_config(TrainConfig, tmp_path / "none.yaml")
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, SuperresError)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.preset", "expected key=value"),
        ("=3", "expected key=value"),
        ("seed.deeper=3", "seed is not a group of settings"),
        ("steps=[1", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_quoted(tmp_path: Path, override: str, says: str) -> None:
    message = fault(recipe(tmp_path, seed=1), override)
    assert message.startswith(f"--set {override}: ")
    assert says in message


@pytest.mark.parametrize(
    "blur", [{}, {"na": 1.4}, {"wavelength": 0.5}, {"sigma": 1, "na": 1.4}, {"sigma": 1, "na": 1.4, "wavelength": 0.5}]
)
def test_blur_is_given_in_exactly_one_way(blur: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="either sigma"):
        Blur.model_validate(blur)


@pytest.mark.parametrize("step", [{}, {"downsample": "binning", "blur": {"sigma": 1}}])
def test_a_step_does_exactly_one_thing(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of"):
        DegradeStep.model_validate(step)


@pytest.mark.parametrize(
    ("steps", "factor", "says"),
    [
        ((DegradeStep.model_validate({"blur": {"sigma": 1}}),), (1, 2, 2), "needs exactly one step"),
        ((BINNING, BINNING), (1, 2, 2), "found 2"),
        ((BINNING,), (1, 1, 1), "remove the downsample step"),
    ],
)
def test_a_degradation_must_reach_the_low_grid(
    steps: tuple[DegradeStep, ...], factor: tuple[int, int, int], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        check_degrade(steps, factor)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", ""])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(ValidationError, match="device"):
        UpscaleConfig.model_validate({"model": "m", "device": device})


# --- a degradation in a file of its own ------------------------------------------------------------------------------

FITTED = {"factor": [1, 4, 4], "degrade": [{"blur": {"sigma": [1.0, 2.0]}}, {"downsample": "binning"}]}


def fitted_file(folder: Path, **changes: Any) -> Path:
    path = folder / "fitted" / "microscope.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("# from two recordings\n" + yaml.safe_dump(FITTED | changes), encoding="utf-8")
    return path


def test_a_recipe_may_name_the_file_of_a_degradation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fitted_file(tmp_path)
    named = load_config(TrainConfig, recipe(tmp_path, degrade="fitted/microscope.yaml"))
    assert named == load_config(TrainConfig, recipe(tmp_path, degrade=FITTED["degrade"]))
    assert "microscope.yaml" not in dump_config(named)
    assert load_config(TrainConfig, recipe(tmp_path, degrade=str(file))) == named
    monkeypatch.chdir(file.parent)
    assert load_config(TrainConfig, recipe(tmp_path), ["degrade=microscope.yaml"]) == named
    assert load_config(TrainConfig, recipe(tmp_path), degrade="microscope.yaml") == named
    scored = load_config(EvaluateConfig, None, ["manifests=a.yaml", "factor=[1,4,4]", "degrade=microscope.yaml"])
    assert scored.degrade == named.degrade


def test_the_file_of_a_degradation_must_be_there_and_fit(tmp_path: Path) -> None:
    fitted_file(tmp_path)
    named = recipe(tmp_path, degrade="fitted/microscope.yaml")
    with pytest.raises(ConfigError, match=r"fitted at factor \[1, 4, 4\], wanted .*\[1, 2, 2\].*--factor 1,2,2"):
        load_config(TrainConfig, named, factor=[1, 2, 2])
    with pytest.raises(MissingFileError, match=r"other.yaml: no such file of a degradation"):
        load_config(TrainConfig, recipe(tmp_path, degrade="other.yaml"))
    with pytest.raises(ConfigError, match=r"recipe.yaml: expected .*superres degrade fit.*found .*manifests"):
        load_config(TrainConfig, recipe(tmp_path, degrade="recipe.yaml"))
    fitted_file(tmp_path, degrade=[{"blurr": {"sigma": 1}}])
    with pytest.raises(ConfigError, match=r"degrade\.0\.blurr: unknown key; did you mean blur"):
        load_config(TrainConfig, recipe(tmp_path, degrade="fitted/microscope.yaml"))
