"""The tensors of a PEFT checkpoint, each where it belongs in a backbone, with what its configuration says of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from adaptkit.adapters.peft import PeftForm
from adaptkit.anatomy import current_path
from adaptkit.artifact.assembling import refuse_unknown, tensors_of
from adaptkit.artifact.to_peft import CONFIG, PREFIX, TENSORS
from adaptkit.errors import ArtifactError

IN_MODULE = re.compile(r"^(base_layer|ln_tuning_layers)\.")  # names that PEFT puts between a module and its parameter
PICKLED = "adapter_model.bin"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a file, each where it belongs.

    Attributes:
        adapted: module of the backbone -> end of a tensor's name -> the tensor.
        trained: parameter of the backbone -> its value.
        shared: tensors that all adapters have in common.
        left: names of those that belong to no backbone, such as a head's.
    """

    adapted: dict[str, dict[str, Tensor]]
    trained: dict[str, Tensor]
    shared: dict[str, Tensor]
    left: tuple[str, ...]

    @classmethod
    def read(cls, source: Path, config: Mapping[str, Any], bare: nn.Module, family: str) -> Checkpoint:
        """Raises ArtifactError with the tensors that belong nowhere: of another depth, of a head that nobody names."""
        adapted: dict[str, dict[str, Tensor]] = defaultdict(dict)
        trained: dict[str, Tensor] = {}
        shared: dict[str, Tensor] = {}
        left, unknown = [], []
        modules = dict(bare.named_modules())
        heads = {name.rpartition(".")[2] for name in _words(config, "modules_to_save", source)}
        for key, tensor in tensors_of(source, TENSORS, PICKLED).items():
            name = current_path(family, key.removeprefix(PREFIX))
            path, rest = home(name, modules)
            own = IN_MODULE.sub("", rest)
            own_parameters = dict(modules[path].named_parameters(recurse=False)) if path else {}
            if own in own_parameters:
                trained[f"{path}.{own}"] = tensor
            elif not key.startswith(PREFIX):
                shared[key.removeprefix("base_model.")] = tensor
            elif path and own_parameters:
                adapted[path][rest] = tensor
            elif heads & set(name.split(".")):
                left.append(name)
            else:
                unknown.append(key)
        hint = "Is it the backbone that the adapter was trained on? Say another: --backbone MODEL."
        refuse_unknown(unknown, f"belong nowhere in {type(bare).__name__}", source, hint)
        return cls(dict(adapted), trained, shared, tuple(left))

    def forms(self, config: Mapping[str, Any], source: Path) -> dict[str, PeftForm]:
        """Module -> its adapter, with the patterns of the configuration applied."""
        alpha = next((key for key in config if key.endswith("alpha")), "alpha")
        patterns = {"r": _patterns(config, "rank_pattern", source), alpha: _patterns(config, "alpha_pattern", source)}
        forms = {}
        for path, tensors in self.adapted.items():
            own = dict(config)
            for key, of in patterns.items():
                own[key] = next((value for pattern, value in of.items() if pattern.search(path)), config.get(key))
            forms[path] = PeftForm(str(config.get("peft_type")), own, tensors, shared=self.shared)
        return forms


def _words(config: Mapping[str, Any], key: str, source: Path) -> list[str]:
    """A list of words of the configuration; empty where it is not said."""
    found = config.get(key) or []
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ArtifactError(f"{key} = {found!r} is no list of names.", where=str(source / CONFIG))
    return found


def _patterns(config: Mapping[str, Any], key: str, source: Path) -> dict[re.Pattern[str], Any]:
    """What a configuration says of modules by their names: as regular expressions, which match the end of a path."""
    found = config.get(key) or {}
    if not isinstance(found, dict):
        raise ArtifactError(f"{key} = {found!r} is no table.", where=str(source / CONFIG))
    try:
        return {re.compile(rf"(^|\.)({name})$"): value for name, value in found.items()}
    except re.error as error:
        raise ArtifactError(f"{key}: {error.pattern!r} is no pattern ({error}).", where=str(source / CONFIG)) from None


def home(name: str, modules: Mapping[str, nn.Module]) -> tuple[str, str]:
    """The innermost module of a backbone that a tensor's name leads to, and the rest of the name; "" for none.

    In a model with a head the backbone has a name of its own, "bert." or "model.", which is passed over.
    """
    for start in (name, name.partition(".")[2]):
        words = start.split(".")
        for end in range(len(words) - 1, 0, -1):
            if ".".join(words[:end]) in modules:
                return ".".join(words[:end]), ".".join(words[end:])
    return "", name
