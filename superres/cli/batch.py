"""Several inputs of one command: an output for each, one after the other, and what became of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from superres.errors import InputError, SuperresError
from superres.progress import Progress, ProgressCallback

InputT = TypeVar("InputT", bound=str | Path)
SummaryT = TypeVar("SummaryT")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[InputT, SummaryT]):
    """What became of the inputs of one command."""

    summaries: dict[InputT, SummaryT] = field(default_factory=dict)
    failures: dict[InputT, str] = field(default_factory=dict)


def run_each(
    names: Mapping[InputT, str], one: Callable[[InputT, ProgressCallback], SummaryT], progress: ProgressCallback
) -> Outcome[InputT, SummaryT]:
    """Do one input after the other; one that fails is remembered and does not keep the others from being done.

    Parameters
    ----------
    names : mapping
        Input to what progress calls it.
    one : callable
        Does one input.
    """
    outcome: Outcome[InputT, SummaryT] = Outcome()
    for number, (source, name) in enumerate(names.items()):
        progress(Progress("inputs", number, len(names), note=name))

        def named(event: Progress, label: str = name) -> None:
            progress(replace(event, note=f"{label}, {event.note}" if event.note else label))

        try:
            outcome.summaries[source] = one(source, named)
        except SuperresError as error:
            outcome.failures[source] = str(error)
        except Exception as error:  # a night's batch must outlive one file; the traceback is shown, the exit code is 1
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error} (a bug of superres; please report it)"
            outcome.failures[source] = f"{source}: {reason}"
    progress(Progress("inputs", len(names), len(names)))
    return outcome


def refuse_twins(targets: Mapping[InputT, Path], what: str, advice: str) -> None:
    """Refuse two inputs that would be written to the same place."""
    known: dict[Path, InputT] = {}
    for source, target in targets.items():
        twin = known.setdefault(target, source)
        if twin != source:
            raise InputError(f"{source}: would be written to the same {what} as {twin} ({target}); {advice}")
