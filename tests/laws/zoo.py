"""The zoo: a tiny model of every family that adaptkit promises to handle, for the laws of every adapter.

Built from configurations and random weights, without network. `families.FAMILIES` are the eleven that `make test`
runs the laws on; the rest is for `make conformance`.
"""

from __future__ import annotations

from tests.laws import families, zoo_audio, zoo_multimodal, zoo_text, zoo_timm, zoo_vision
from tests.laws.families import Family

_PARTS = (
    families.FAMILIES.values(),
    zoo_text.FAMILIES,
    zoo_vision.FAMILIES,
    zoo_audio.FAMILIES,
    zoo_multimodal.FAMILIES,
    zoo_timm.FAMILIES,
)
ZOO: dict[str, Family] = {family.name: family for part in _PARTS for family in part}
assert len(ZOO) == sum(map(len, _PARTS)), "two families of one name"
