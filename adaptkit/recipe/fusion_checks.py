"""Whether `[fusion]` and `backbone.prefix` have what they work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.recipe.fusion import BACKBONE
from adaptkit.recipe.places import Finding
from adaptkit.recipe.side_checks import Tables, words_of
from adaptkit.recipe.signatures import fusion_signatures
from adaptkit.recipe.words import in_toml


def fusion_conflicts(document: Mapping[str, Any], modalities: Tables, adapters: Tables) -> Iterator[Finding]:
    """Everything that is wrong between `[fusion]`, the backbone, and the modalities that meet there."""
    joined = joined_names(modalities, adapters)
    if BACKBONE in joined:
        message = "the backbone's own vector has this name where they meet."
        yield Finding(("modality", BACKBONE), message, "Give the modality another name.")
    backbone, fusion = document.get("backbone"), document.get("fusion")
    if not isinstance(fusion, Mapping) or not isinstance(backbone, Mapping):
        return
    signature = fusion_signatures().get(str(fusion.get("kind", "concat")))
    if signature is None:
        return
    if 1 + len(joined) < signature.least:
        message = f'{signature.kind} needs a modality of route "fusion" that no adapter reads.'
        yield Finding(("fusion", "kind"), message, 'Give one route = "fusion", or write kind = "concat".')
    pool = backbone.get("pool", "auto")
    if signature.sequences and pool != "auto":
        message = f"{signature.kind} reads the whole sequence of the backbone, so {in_toml(pool)} would do nothing."
        yield Finding(("backbone", "pool"), message, "Leave pool out.")


def prefix_conflicts(document: Mapping[str, Any], modalities: Tables) -> Iterator[Finding]:
    """`prefix = "mmbt"` arranges the modalities of route "tokens"."""
    backbone = document.get("backbone")
    if not isinstance(backbone, Mapping) or backbone.get("prefix", "plain") != "mmbt":
        return
    if not any(table.get("route") == "tokens" for table in modalities.values()):
        hint = 'Give one route = "tokens", or leave prefix out.'
        yield Finding(("backbone", "prefix"), "no modality goes before the text.", hint)


def joined_names(modalities: Tables, adapters: Tables) -> list[str]:
    """The modalities of route "fusion" that no adapter reads."""
    read = {side for table in adapters.values() for side in words_of(table, "sides")}
    return [name for name, table in modalities.items() if table.get("route") == "fusion" and name not in read]
