"""What a backbone looks like, whatever library and architecture it is of.

Only data and names are imported here; whatever needs torch is imported when it is first asked for, so that
`adaptkit list models` and `adaptkit --help` stay fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.anatomy.loading.resolve import ModelRef, Precision, resolve
from adaptkit.anatomy.site import Anatomy, Layout, Module, Site, Stack
from adaptkit.anatomy.tables.aliases import Alias, aliases
from adaptkit.lazy import lazily

if TYPE_CHECKING:
    from adaptkit.anatomy.calling.inputs import InputSpec, input_spec
    from adaptkit.anatomy.detect.module_tree import Node, tree
    from adaptkit.anatomy.detect.study import study
    from adaptkit.anatomy.loading.fingerprints import configuration, fingerprint, tokenizer_identity
    from adaptkit.anatomy.loading.load import load, save, skeleton, tokenizer, tokenizer_for
    from adaptkit.anatomy.model_input import ModelInput
    from adaptkit.anatomy.selection import select, skipped
    from adaptkit.anatomy.tables.renamed import current_path
    from adaptkit.anatomy.trace.dummy import dummy_inputs
    from adaptkit.anatomy.trace.probe import runnable_on_meta

_HOME = {
    "InputSpec": "calling.inputs",
    "ModelInput": "model_input",
    "Node": "detect.module_tree",
    "configuration": "loading.fingerprints",
    "dummy_inputs": "trace.dummy",
    "current_path": "tables.renamed",
    "fingerprint": "loading.fingerprints",
    "input_spec": "calling.inputs",
    "load": "loading.load",
    "runnable_on_meta": "trace.probe",
    "save": "loading.load",
    "select": "selection",
    "skeleton": "loading.load",
    "skipped": "selection",
    "study": "detect.study",
    "tokenizer": "loading.load",
    "tokenizer_for": "loading.load",
    "tokenizer_identity": "loading.fingerprints",
    "tree": "detect.module_tree",
}

__all__ = [
    "Alias",
    "Anatomy",
    "InputSpec",
    "Layout",
    "ModelInput",
    "ModelRef",
    "Module",
    "Node",
    "Precision",
    "Site",
    "Stack",
    "aliases",
    "configuration",
    "current_path",
    "dummy_inputs",
    "fingerprint",
    "input_spec",
    "load",
    "resolve",
    "runnable_on_meta",
    "save",
    "select",
    "skeleton",
    "skipped",
    "study",
    "tokenizer",
    "tokenizer_for",
    "tokenizer_identity",
    "tree",
]

__getattr__, __dir__ = lazily(__name__, _HOME)
