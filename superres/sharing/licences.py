"""Whether the licences of the images that a model learnt from allow it to be passed on.

Licences in manifests are sentences of people: what stands in brackets, such as where it was read, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from superres.modelfile import ModelHeader

_BRACKETS = re.compile(r"\([^()]*\)")
# In this order: a licence that allows much and forbids one thing is one that forbids.
_FORBIDS = {
    r"\bnc\b|non-?commercial": "forbids commercial use",
    r"\bnd\b|no-?deriv": "forbids what is made from the images",
    r"\b[al]?gpl\b|gnu": "asks that what is made from the images stands under the GPL",
    r"\bsa\b|share-?alike": "asks that what is made from the images stands under the same licence",
}
_ALLOWS = re.compile(r"\bcc[ -]?0|public domain|\bcc[ -]by\b|\bmit\b|\bbsd\b|\bapache\b")


def objection(licence: str) -> str:
    """Say why a model may not be passed on that learnt from images under a licence; empty where it may.

    CC0, CC BY, MIT, BSD, Apache and the public domain allow it. Of anything else it is not known, and that is said.
    """
    text = _BRACKETS.sub(" ", licence).lower()
    for pattern, reason in _FORBIDS.items():
        if re.search(pattern, text):
            return reason
    if _ALLOWS.search(text):
        return ""
    if text.strip() in ("", "not stated", "not told"):
        return "is not told"
    return "is not known to allow it (known are CC0, CC BY, MIT, BSD, Apache, public domain)"


def objections(header: ModelHeader) -> tuple[str, ...]:
    """Say of every licence that does not allow a model to be passed on, why not, and which acquisitions it is of."""
    found: dict[str, list[str]] = {}
    for training in header.trainings:
        entries = training.get("acquisitions", ())
        if not entries:
            found.setdefault("", []).append("its training data")
        for entry in entries:
            found.setdefault(str(entry.get("licence") or ""), []).append(_name(entry))
    return tuple(
        f"the licence of {', '.join(dict.fromkeys(names))} {f'({licence}) ' if licence else ''}{reason}"
        for licence, names in found.items()
        if (reason := objection(licence))
    )


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("id") or "an acquisition")
