"""The models that were used last, kept from session to session."""

from __future__ import annotations

import json
from pathlib import Path

from qtpy.QtCore import QStandardPaths

_MOST = 12


def remembered_models() -> list[Path]:
    """Return the models that were used last and are still there, the latest first."""
    try:
        paths = [Path(str(path)) for path in json.loads(_file().read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []
    return [path for path in paths if path.exists()]


def remember_model(path: Path) -> None:
    """Put a model first; where the list cannot be kept, it is not."""
    path = path.absolute()
    paths = [path, *(other for other in remembered_models() if other != path)][:_MOST]
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([str(one) for one in paths], indent=1), encoding="utf-8")
    except OSError:
        return


def _file() -> Path:
    folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericConfigLocation)
    return Path(folder) / "superres" / "models.json"
