"""``superres degrade``: degradations measured on real recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superres.cli import output
from superres.cli.application import STARTS_ANEW, AsJson, Overrides, app, examples, job, triple_of

if TYPE_CHECKING:
    from superres.degrade.fitting import Outcome

degrade = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Measure what a microscope does to sharp images, for recipes.",
    epilog=examples("superres degrade fit --sharp sharp --recorded fast --factor 1,4,4 --out fit.yaml"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(degrade, name="degrade")


@degrade.callback()
def _degrade() -> None:
    """Keep `fit` a command of its own, and not the whole of `degrade`."""


@degrade.command(
    epilog=examples(
        "superres degrade fit --sharp sharp --recorded fast --factor 1,4,4 --out fit.yaml",
        "superres degrade fit --sharp a_high.tif --recorded a_low.tif --paired --out fit.yaml",
        "superres degrade fit --sharp s.tif --recorded r1.tif --recorded r2.tif --factor 1,2,2 --out fit.yaml",
    )
)
def fit(
    sharp: Annotated[list[str], typer.Option(help="Sharp image, folder or pattern; repeat it for more.")],
    recorded: Annotated[list[str], typer.Option(help="Real recording, folder or pattern; repeat it for more.")],
    out: Annotated[Path, typer.Option(help="YAML file to write; a page with plots goes beside it.")],
    factor: Annotated[
        str | None, typer.Option(help="How much finer the sharp images are, Z,Y,X, where the files do not tell.")
    ] = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="The i-th sharp image shows the i-th recorded field.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Fit a degradation to real recordings: blur, sampling, photons, detector noise, line jitter.

    The file written is named in recipes, as 'degrade: fit.yaml'. Two time points or files that show one field are taken
    as repeats, which tell noise best. Several recordings are also fitted one by one, and the ranges hold all of them.
    """
    with job(STARTS_ANEW) as progress:
        from superres.config import load_config
        from superres.degrade.block import degrade_block, write_text
        from superres.degrade.fitting import fit_degradation
        from superres.degrade.recordings import FitConfig
        from superres.evaluation.realism import realism_page

        triple = None if factor is None else triple_of(factor)
        config = load_config(FitConfig, None, overrides or (), factor=triple, paired=paired or None)
        picture = out.with_suffix(".html")
        outcome = fit_degradation(sharp, recorded, config, progress=progress)
        write_text(out, degrade_block(outcome), overwrite=config.overwrite)
        write_text(picture, realism_page(outcome), overwrite=config.overwrite)
    _show(outcome, out, picture, as_json=as_json)


def _show(outcome: Outcome, out: Path, picture: Path, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_facts(outcome, out, picture))
        return
    from rich import box
    from rich.table import Table

    from superres.degrade.block import around, how_sure, meanings, noise_source
    from superres.degrade.microscope import NEGLIGIBLE

    fit, sure = outcome.fit, outcome.sureness
    microscope = fit.microscope
    optional = {"line jitter": microscope.jitter, "smoothing after the noise": microscope.smoothing}
    facts = {
        "blur": f"{microscope.blur:.3g}{around(sure, 'blur')} high voxels (sigma)"
        if microscope.blur > NEGLIGIBLE
        else "none to be seen",
        "haze": f"{microscope.haze:.0%} of the light, {microscope.haze_sigma:.3g} high voxels"
        if microscope.haze
        else "",
        "sampling": microscope.sampling or "",
        **{name: f"{value:.2g} low voxels" if value else "" for name, value in optional.items()},
        "photons": f"{microscope.photons:.3g}{around(sure, 'photons')} at the top of the sharp grey range",
        "gain": f"{fit.grey_levels_per_photon.mean():.3g}{around(sure, 'gain')} grey levels per photon",
        "offset": f"{fit.offset.mean():.4g}{around(sure, 'offset')} grey levels without light",
        "read noise": f"{fit.read_noise.mean():.3g}{around(sure, 'read_noise')} grey levels",
        "noise from": noise_source(outcome),
    }
    output.show_facts("Fitted", facts)
    output.print_message(output.OUT, "", "", how_sure(outcome))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("how far off (0 is alike)", overflow="fold")
    for heading in ("default", "fitted", "times better"):
        table.add_column(heading, justify="right")
    for name, meaning in meanings().items():
        before, after = (getattr(one.gaps, name) for one in (outcome.default, outcome.fitted))
        table.add_row(meaning, f"{before:.3f}", f"{after:.3f}", f"{before / max(after, 1e-12):.1f}")
    output.OUT.print(table)
    if outcome.alone:
        output.show_facts(
            "Each recording by itself",
            {
                one.recorded: f"blur {one.microscope.blur:.3g}, photons {one.microscope.photons:.3g}; spectrum off by "
                f"{one.default.spectrum:.3f} with the default, {one.fitted.spectrum:.3f} with its own"
                for one in outcome.alone
            },
        )
    for warning in outcome.warnings:
        output.print_message(output.ERR, "warning: ", "bold yellow", warning)
    output.show_facts("Written", {"degradation": str(out), "plots": str(picture)})


def _facts(outcome: Outcome, out: Path, picture: Path) -> dict[str, Any]:
    fit = outcome.fit
    return {
        "degradation": out,
        "plots": picture,
        "factor": outcome.recordings.fields.factor,
        "paired": outcome.recordings.fields.paired,
        "microscope": fit.microscope,
        "grey_levels_per_photon": fit.grey_levels_per_photon.tolist(),
        "offset": fit.offset.tolist(),
        "read_noise": fit.read_noise.tolist(),
        "contrast": fit.contrast.tolist(),
        "noise_from_repeats": fit.from_repeats,
        "half_widths": outcome.sureness,
        "alone": outcome.alone,
        "gaps": {"default": outcome.default.gaps, "fitted": outcome.fitted.gaps},
        "warnings": outcome.warnings,
    }
