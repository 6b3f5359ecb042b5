"""What a backbone looks like, whatever library and architecture it is of.

Only data and names are imported here; whatever needs torch is imported when it is first asked for, so that
`adaptkit list models` and `adaptkit --help` stay fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.anatomy.aliases import Alias, aliases
from adaptkit.anatomy.models import ModelRef, resolve
from adaptkit.anatomy.site import Anatomy, Layout, Module, Site, Stack
from adaptkit.lazy import lazily

if TYPE_CHECKING:
    from adaptkit.anatomy.detect import study
    from adaptkit.anatomy.dummy import dummy_inputs
    from adaptkit.anatomy.fingerprints import fingerprint
    from adaptkit.anatomy.folded import Node, tree
    from adaptkit.anatomy.inputs import InputSpec, input_spec
    from adaptkit.anatomy.loading import load, skeleton, tokenizer, tokenizer_for
    from adaptkit.anatomy.probe import runnable_on_meta
    from adaptkit.anatomy.renamed import current_path
    from adaptkit.anatomy.selection import select, skipped

_HOME = {
    "InputSpec": "inputs",
    "Node": "folded",
    "dummy_inputs": "dummy",
    "current_path": "renamed",
    "fingerprint": "fingerprints",
    "input_spec": "inputs",
    "load": "loading",
    "runnable_on_meta": "probe",
    "select": "selection",
    "skeleton": "loading",
    "skipped": "selection",
    "study": "detect",
    "tokenizer": "loading",
    "tokenizer_for": "loading",
    "tree": "folded",
}

__all__ = [
    "Alias",
    "Anatomy",
    "InputSpec",
    "Layout",
    "ModelRef",
    "Module",
    "Node",
    "Site",
    "Stack",
    "aliases",
    "current_path",
    "dummy_inputs",
    "fingerprint",
    "input_spec",
    "load",
    "resolve",
    "runnable_on_meta",
    "select",
    "skeleton",
    "skipped",
    "study",
    "tokenizer",
    "tokenizer_for",
    "tree",
]

__getattr__, __dir__ = lazily(__name__, _HOME)
