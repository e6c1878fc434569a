"""From a run folder to a picture of the loss around its model, and of the path that led there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from superres.config import TrainConfig, load_config
from superres.datasets.manifest import load_manifests
from superres.errors import ConfigError, MissingFileError, OutputWriteError
from superres.evaluation import landscape_page
from superres.evaluation.landscape import Axis, Landscape, Stop, to_json
from superres.evaluation.loss_surface import (
    Distance,
    MainDirections,
    Measured,
    Plane,
    Weights,
    grid,
    main_directions,
    random_direction,
    span,
    weights_of,
)
from superres.modelfile import load_model_file
from superres.nets import UNet, choose_device, net_from_model_file, place
from superres.nets.device import layout
from superres.progress import Progress, ProgressCallback, silent
from superres.recipe_files import read_yaml
from superres.training.kind import open_split
from superres.training.material import Material
from superres.training.snapshots import Snapshot, find_snapshots

_PATCHES = 8
_FEWEST_POINTS = 5
_SNAPSHOTS = 20  # that are proposed


def landscape(
    run: Path,
    out: Path,
    *,
    points: int = 25,
    seed: int = 0,
    overrides: Iterable[str] = (),
    progress: ProgressCallback = silent,
) -> Landscape:
    """Measure the loss around the final weights of a training, and draw it as a page beside a file of its figures.

    With snapshots in the run folder the map lies along the two main directions of the path that the training took, and
    the path is drawn over it; without, along two random directions.

    Parameters
    ----------
    run : Path
        Run folder of a finished training.
    out : Path
        Folder for ``landscape.html`` and ``landscape.json``; made if it does not exist.
    points : int
        Of the map along each direction.
    seed : int
        Of the random directions. The patches and their noise are those of the run's own seed.
    overrides : iterable of str
        Changes of the run's recipe, such as ``data_root=/elsewhere`` or ``device=cpu``.
    progress : callable
        Receives an event per net that is measured.

    Raises
    ------
    ConfigError
        When `points` is too small.
    MissingFileError, InputError, ModelFileError
        When there is no finished training, or its images are not there.
    OutputWriteError
        When nothing can be written to `out`.
    """
    if points < _FEWEST_POINTS:
        raise ConfigError(f"points={points}: a map needs at least {_FEWEST_POINTS} along each direction")
    found = _Job(run, overrides, seed).draw(points, out, progress)
    try:
        out.mkdir(parents=True, exist_ok=True)
        found.data.write_text(json.dumps(to_json(found), indent=1, allow_nan=False), encoding="utf-8")
        found.page.write_text(landscape_page.document(found), encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{out}: cannot write the page ({error}); give another folder with --out") from None
    return found


class _Job:
    """A finished training, its net and the patches that it is measured on."""

    def __init__(self, run: Path, overrides: Iterable[str], seed: int) -> None:
        self.run, self.seed = run, seed
        config = _recipe(run, overrides)
        file = load_model_file(run)
        device = choose_device(config.device)
        self.name = file.header.name
        self.net = place(net_from_model_file(file), device).eval().requires_grad_(False)
        self.distance, self.patches = _distance(config, self.net, device)
        self.snapshots = find_snapshots(run)
        self.notes: list[str] = []
        if not self.snapshots:
            self.notes.append(
                "no snapshots were kept, so the map lies along two random directions; to see the path of a training, "
                f"train with them: superres train RECIPE --out ANOTHER_RUN --set snapshots={_SNAPSHOTS}"
            )
        own = {name for name, _ in self.net.named_parameters()}
        if self.net.state_dict().keys() - own:
            self.notes.append("what norms keep besides their weights is that of the finished net all over the map")

    def draw(self, points: int, out: Path, progress: ProgressCallback) -> Landscape:
        """Measure everything."""
        final = weights_of(self.net)
        main = main_directions(final, [snapshot.weights() for snapshot in self.snapshots])
        directions, axes = self._directions(final, main, points)
        plane = Plane(self.net, directions, self.distance)
        done, total = 0, points**2 + 2 * len(self.snapshots)

        def told(measured: Measured) -> None:
            nonlocal done
            done += 1
            progress(Progress("landscape", done, total, "nets", "", {"loss": measured.loss}))

        loss, psnr = plane.surface(axes[0].values, axes[1].values, told)
        stops = [self._stop(plane, main, number, told) for number in range(len(self.snapshots))]
        if (bad := int(np.sum(~np.isfinite(loss)))) > 0:
            self.notes.append(f"the loss is not finite at {bad} of {loss.size} places of the map; they are left out")
        return Landscape(
            name=self.name,
            run=self.run,
            axes=axes,
            loss=loss,
            psnr=psnr,
            final=plane.at((0.0, 0.0)),
            path=tuple(stops),
            explained=tuple(main.explained.tolist()),
            patches=self.patches,
            seed=self.seed,
            notes=tuple(self.notes),
            page=out / "landscape.html",
            data=out / "landscape.json",
        )

    def _directions(
        self, final: Weights, main: MainDirections, points: int
    ) -> tuple[tuple[Weights, Weights], tuple[Axis, Axis]]:
        """Take the main directions of the path, and random ones in the place of those that it lacks."""
        generator = Generator().manual_seed(self.seed)
        directions: list[Weights] = [*main.directions]
        axes = [
            Axis(
                f"{('first', 'second')[number]} main direction of the path",
                "distance between weights",
                float(main.explained[number]),
                grid(*span(main.places[:, number]), points),
            )
            for number in range(len(directions))
        ]
        while len(directions) < 2:
            name = f"{('first', 'second')[len(axes)]} random direction"
            directions.append(random_direction(final, generator))
            axes.append(Axis(name, "norms of the filters", None, grid(-1.0, 1.0, points)))
        return (directions[0], directions[1]), (axes[0], axes[1])

    def _stop(self, plane: Plane, main: MainDirections, number: int, told: Callable[[Measured], None]) -> Stop:
        snapshot: Snapshot = self.snapshots[number]
        places = [*main.places[number].tolist(), 0.0, 0.0]
        own, below = self._measured(snapshot), plane.at((places[0], places[1]))
        told(own)
        told(below)
        where = (places[0], places[1])
        return Stop(snapshot.step, where, own.loss, own.psnr, below.loss, float(main.inside[number]))

    def _measured(self, snapshot: Snapshot) -> Measured:
        """Measure the net as it was, with what norms kept then."""
        final = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.net.load_state_dict(snapshot.weights())
        try:
            return self.distance()
        finally:
            self.net.load_state_dict(final)


def _recipe(run: Path, overrides: Iterable[str]) -> TrainConfig:
    """Read the recipe of a run; its paths are, as those of the training were, relative to the working folder."""
    recipe = run / "config.yaml"
    if not recipe.is_file():
        raise MissingFileError(f"{run}: not a run folder: there is no config.yaml; give the --out of a superres train")
    if not (run / "model.safetensors").is_file():
        raise MissingFileError(
            f"{run}: the training is not finished: there is no model.safetensors; run superres train again to go on"
        )
    return load_config(TrainConfig, None, overrides, **read_yaml(recipe))


def _distance(config: TrainConfig, net: UNet, device: torch.device) -> tuple[Distance, str]:
    """Return the loss on a few patches with fixed noise, and what they are of: validation images where there are."""
    manifests = load_manifests(config.manifests, config.data_root)
    sources, split = open_split(config, manifests, "val")[0], "validation"
    if not sources:
        sources, split = open_split(config, manifests, "train")[0], "training"
    material = Material(config, net.architecture, device, sources, sources)
    low, high = material.validation_pairs()
    assert material.validation is not None
    scale = material.predicted_of(material.validation.scale.to(device))
    if material.recorded:
        high = net.follow(high, low)  # as in the training
    chosen = np.linspace(0, len(low) - 1, min(_PATCHES, len(low))).round().astype(int).tolist()
    images = sorted({material.validation_names[index] for index in chosen})
    text = f"{len(chosen)} patches of the {split} images {_listed(images)}, degraded the same way each time"
    low = low[chosen].contiguous(memory_format=layout(low))
    measured = Distance(net, low, high[chosen], scale[chosen], config.loss.charbonnier_epsilon)
    return measured, text if not material.recorded else text.partition(",")[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
