"""The artifact: the portable folder a training produces, and what can be done with it.

Imported on first use, so that importing a torch-free module of this package stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.lazy import lazily

if TYPE_CHECKING:
    from adaptkit.artifact.combining import combine
    from adaptkit.artifact.converting import convert
    from adaptkit.artifact.export import export_adapter
    from adaptkit.artifact.folding import merge_run, unmerge
    from adaptkit.artifact.from_adapterhub import convert_adapterhub
    from adaptkit.artifact.from_peft import convert_peft
    from adaptkit.artifact.load import load_artifact
    from adaptkit.artifact.merging import merge
    from adaptkit.artifact.reading import Artifact, artifact_folder, read_artifact
    from adaptkit.artifact.save import save_artifact
    from adaptkit.artifact.to_adapterhub import export_adapterhub
    from adaptkit.artifact.to_peft import export_peft

_HOME = {
    "Artifact": "reading",
    "artifact_folder": "reading",
    "combine": "combining",
    "convert": "converting",
    "convert_adapterhub": "from_adapterhub",
    "convert_peft": "from_peft",
    "export_adapter": "export",
    "export_adapterhub": "to_adapterhub",
    "export_peft": "to_peft",
    "load_artifact": "load",
    "merge": "merging",
    "merge_run": "folding",
    "read_artifact": "reading",
    "save_artifact": "save",
    "unmerge": "folding",
}

__all__ = [
    "Artifact",
    "artifact_folder",
    "combine",
    "convert",
    "convert_adapterhub",
    "convert_peft",
    "export_adapter",
    "export_adapterhub",
    "export_peft",
    "load_artifact",
    "merge",
    "merge_run",
    "read_artifact",
    "save_artifact",
    "unmerge",
]

__getattr__, __dir__ = lazily(__name__, _HOME)
