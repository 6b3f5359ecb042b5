"""Whether the models of an artifact are those it was made with: their tensors, configurations and inputs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from importlib import metadata
from typing import Any

from torch import nn

from adaptkit.anatomy import configuration, fingerprint
from adaptkit.artifact.format import Base, Description
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel

LIBRARIES = ("torch", "transformers", "tokenizers", "timm")


def inputs_of(model: AdaptedModel) -> dict[str, dict[str, Any]]:
    """Modality -> what turns its raw values into inputs besides the recipe; of those that are read."""
    unread = model.plan.recipe.data.drop
    found = {name: encoder.preprocessing for name, encoder in model.named_encoders() if name not in unread}
    return json.loads(json.dumps({name: facts for name, facts in found.items() if facts}))  # tuples as lists


def versions() -> dict[str, str]:
    """Of the libraries that build models and read their inputs, as far as they are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def refuse_other_models(
    described: Description,
    model: AdaptedModel,
    *,
    where: str,
    subject: str = "",
) -> None:
    """Raise ArtifactError, naming what differs, where a model is not the one that the artifact was made with.

    Args:
        described: of the artifact.
        model: as published, or with the artifact's tensors in it: those of adapters do not count.
        where: the place to name.
        subject: what belongs to another model, for the message; the artifact at `where` by default.
    """
    _refuse_other(described.base, model.backbone, "backbone", "base", described, where, subject)
    for name, tower in model.towers.items():
        wanted = described.towers.get(name)
        if wanted is not None:
            _refuse_other(wanted, tower, f"tower of {name}", f"towers.{name}", described, where, subject)


def refuse_other_inputs(
    described: Description,
    model: AdaptedModel,
    *,
    where: str,
    subject: str = "",
    modalities: Collection[str] | None = None,
) -> None:
    """Raise ArtifactError where values of a modality become other inputs than those that the artifact was made with.

    Args:
        described: of the artifact.
        model: whose encoders read.
        where: the place to name.
        subject: as of `refuse_other_models`.
        modalities: those that are compared; all by default.
    """
    for name, facts in inputs_of(model).items():
        compared = modalities is None or name in modalities
        differing = list(differences(described.inputs.get(name, {}), facts)) if compared else []
        if differing:
            raise ArtifactError(
                f"{subject}was made with other inputs of {name}: {_told(differing)}.",
                where=where,
                hint=f"Use the model and tokenizer that it was made with, by {_made_with(described)}.",
            )


def _refuse_other(
    wanted: Base, model: nn.Module, what: str, key: str, described: Description, where: str, subject: str
) -> None:
    found = fingerprint(model)
    if found != wanted.fingerprint:
        raise ArtifactError(
            f"{subject}belongs to another {what}: the weights here have the fingerprint {found[:19]}..., "
            f"and those of {wanted.id}, which it was trained on, {wanted.fingerprint[:19]}....",
            where=where,
            hint=f"Use the model and revision that adapter.json names under `{key}`.",
        )
    differing = list(differences(wanted.config, configuration(model)))
    if differing:
        raise ArtifactError(
            f"{subject}belongs to another {what}, of the same weights and another configuration: {_told(differing)}.",
            where=where,
            hint=f"Use the configuration that adapter.json names under `{key}`, made with {_made_with(described)}.",
        )


def differences(then: Mapping[str, Any], now: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """`hidden_act was "gelu" and is "relu"`, of every key that both have.

    A key that only one has was brought, renamed or dropped by another version of a library, with a default that keeps
    the function: one that was edited away stands with its default.
    """
    for key in then.keys() & now.keys():
        old, new, name = then[key], now[key], f"{inside}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{name}.")
        elif old != new:
            hashes = all(isinstance(value, str) and value.startswith("sha256:") for value in (old, new))
            yield f"{name} is another" if hashes else f"{name} was {json.dumps(old)} and is {json.dumps(new)}"


def _told(differing: list[str]) -> str:
    found = sorted(differing)
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _made_with(described: Description) -> str:
    return ", ".join(f"{name} {version}" for name, version in described.versions.items()) or "unknown versions"
