"""The source of a net as one file that needs PyTorch and nothing of superres: what a model package carries.

It is cut out of the modules that run here, so that there is one net and not two.
"""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

from superres import __version__
from superres.nets import architecture, device, layers, resample, unet

CALLABLE = "superres_net"
"""What rebuilds the net in that file, from the fields of `superres.nets.Architecture`."""

# In the order in which they need each other.
_MODULES = (architecture, resample, layers, unet)
_LEFT_OUT = ("net_from_model_file",)

_TOP = '''"""The net of a superres model, for those who have no superres: PyTorch alone.

Written by superres {version}; BSD-3-Clause, Copyright (c) 2026, The superres developers.
"""

from __future__ import annotations

{imports}


class ModelFileError(ValueError):
    """The architecture cannot be."""


{parts}


def {name}(**fields: Any) -> UNet:
    """Rebuild the net from the fields of its architecture, in evaluation mode; weights are loaded into it."""
    return UNet(Architecture.from_json(fields)).eval()
'''


def net_source() -> str:
    """Return the file: Python source whose `CALLABLE` returns the net with random weights."""
    imports: set[str] = set()
    parts = [inspect.getsource(device.full_precision).strip()]
    for module in _MODULES:
        found, part = _parts(module)
        imports |= found
        parts.append(part)
    return _TOP.format(
        version=__version__, imports="\n".join(sorted(imports)), parts="\n\n\n".join(parts), name=CALLABLE
    )


def _parts(module: ModuleType) -> tuple[set[str], str]:
    """Return what a module imports from others than superres, and all else of it with its comments."""
    text = inspect.getsource(module)
    lines, imports, kept = text.splitlines(), set(), []
    docstring, *body = ast.parse(text).body
    end = docstring.end_lineno or 0
    for node in body:
        segment = "\n".join(lines[end : node.end_lineno])
        end = node.end_lineno or end
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports |= _imported(node)
        elif not (isinstance(node, ast.FunctionDef) and node.name in _LEFT_OUT):
            kept.append(segment)
    # In one file nothing stands behind the name of a module.
    return imports, re.sub(r"\bresample\.(?=\w)", "", "\n".join(kept).strip())


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return an import as lines of one name each; none where it is of superres."""
    if isinstance(node, ast.Import):
        return {f"import {ast.unparse(alias)}" for alias in node.names}
    if node.module is None or node.module.split(".")[0] in ("superres", "__future__"):
        return set()
    return {f"from {node.module} import {ast.unparse(alias)}" for alias in node.names}
