"""Damaged artifacts, without end and repeatable: each must be refused in words, or load to the very same bits.

`damaged_artifacts` makes them, `outcome` says what became of one.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adaptkit.artifact import load_artifact
from adaptkit.artifact.format import HASH, description_sha256, sha256
from adaptkit.errors import AdaptkitError
from adaptkit.model import AdaptedModel
from tests.fuzz import bytewise

TENSORS, DESCRIPTION = "adapter.safetensors", "adapter.json"
DOCUMENTED = frozenset({3, 4, 5, 7})  # exit codes of a wrong recipe, artifact, site; of what is not to be had here
WRONG: tuple[Any, ...] = (None, True, 3, -1, 1.5, "text", "", [], ["x"], {}, {"x": 1}, [[]], 10**40, "\ud800")

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Damaged:
    """One damaged artifact.

    Attributes:
        what: the damage, to repeat it by hand.
        folder: where it lies; overwritten by the next one.
    """

    what: str
    folder: Path


def damaged_artifacts(source: Path, scratch: Path, *, count: int, seed: int = 0) -> Iterator[Damaged]:
    """`count` damaged copies of an artifact, one after the other in one folder.

    Single bits, cut, overwritten and swapped bytes of both files; fields of adapter.json that are deleted, of another
    type, added or exchanged, as an editor leaves them; and of another type with the hash made right again, as another
    program might write them.

    Args:
        source: a whole artifact.
        scratch: a folder that exists.
        count: how many.
        seed: the same seed makes the same damages.
    """
    chance = random.Random(seed)
    kinds = [_bit, _bit, _cut, _block, _files, _field, _field, _exchanged, _sealed, _sealed]
    for index in range(count):
        folder = scratch / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        yield Damaged(f"{index}: {kinds[index % len(kinds)](folder, chance)}", folder)


def outcome(folder: Path, expected: AdaptedModel) -> str:
    """ "refused" or "exact"; whatever else happens is an error.

    Args:
        folder: the artifact.
        expected: the model of the undamaged one.
    """
    found = _loaded(folder)
    if isinstance(found, AdaptkitError):
        assert found.code in DOCUMENTED, f"exit code {found.code}: {found}"
        assert str(folder) in str(found), f"does not say where: {found}"
        assert len(str(found)) < 2000, "more than a reader reads"
        return "refused"
    tensors, wanted = found.trainable_state(), expected.trainable_state()
    assert tensors.keys() == wanted.keys(), "loaded with other tensors"
    assert all(torch.equal(value, wanted[name]) for name, value in tensors.items()), "loaded with other values"
    assert found.plan.labels == expected.plan.labels, "loaded with other labels"
    assert found.plan.recipe == expected.plan.recipe, "loaded with another recipe"
    return "exact"


def _loaded(folder: Path) -> AdaptedModel | AdaptkitError:
    try:
        return load_artifact(folder)
    except AdaptkitError as error:
        return error


def describe(folder: Path, change: Callable[[dict[str, Any]], Any], *, seal: bool = True) -> None:
    """Change adapter.json as another program might, its hash with it; without `seal`, as an editor leaves it."""
    content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    change(content)
    if seal and HASH in content:
        content[HASH] = description_sha256(content)
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=2), encoding="utf-8")


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the tensors, and what adapter.json says of them, as another program might."""
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS)
    told = {
        "sha256": sha256((folder / TENSORS).read_bytes()),
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "dtypes": {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()},
    }
    describe(folder, lambda content: content.update(told))


def _bit(folder: Path, chance: random.Random) -> str:
    return bytewise.bit(_one(folder, chance), chance)


def _cut(folder: Path, chance: random.Random) -> str:
    return bytewise.cut(_one(folder, chance), chance)


def _block(folder: Path, chance: random.Random) -> str:
    return bytewise.block(_one(folder, chance), chance)


def _files(folder: Path, chance: random.Random) -> str:
    path = _one(folder, chance)
    return bytewise.whole(path, [folder / name for name in (TENSORS, DESCRIPTION) if name != path.name], chance)


def _field(folder: Path, chance: random.Random) -> str:
    """Deleted, of another type, or added; the hash is that of before."""
    return _edited(folder, chance, chance.choice((_delete, _retype, _add)), seal=False)


def _sealed(folder: Path, chance: random.Random) -> str:
    """A wrong type, a missing or a new key, under a right hash: what every value is parsed for."""
    return "sealed: " + _edited(folder, chance, chance.choice((_delete, _retype, _add)), seal=True, named=True)


def _exchanged(folder: Path, chance: random.Random) -> str:
    """Two values of the same object or list change places."""
    return _edited(folder, chance, _exchange, seal=False)


def _edited(folder: Path, chance: random.Random, edit: Callable[..., str], *, seal: bool, named: bool = False) -> str:
    told: list[str] = []

    def change(content: dict[str, Any]) -> None:
        places = [place for place in _places(content) if not named or place[0] in TYPED]
        told.append(edit(content, chance.choice(places), chance))

    describe(folder, change, seal=seal)
    return told[0]


# What has one type only, and of which nothing may be missing. A sealed change of another value is another artifact.
TYPED = frozenset({"format", "name", "recipe", "base", "towers", "labels", "sha256", "shapes", "dtypes", "adaptkit"})


def _places(value: Any, path: Place = ()) -> Iterator[Place]:
    """The path of every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _parent(content: Any, path: Place) -> Any:
    for key in path[:-1]:
        content = content[key]
    return content


def _delete(content: Any, path: Place, chance: random.Random) -> str:
    del _parent(content, path)[path[-1]]
    return f"deleted {path}"


def _retype(content: Any, path: Place, chance: random.Random) -> str:
    parent = _parent(content, path)
    new = chance.choice([value for value in WRONG if type(value) is not type(parent[path[-1]])])
    parent[path[-1]] = copy.deepcopy(new)
    return f"{path} = {new!r}"


def _add(content: Any, path: Place, chance: random.Random) -> str:
    new, parent = copy.deepcopy(chance.choice(WRONG)), _parent(content, path)
    parent.insert(0, new) if isinstance(parent, list) else parent.update({"added": new})
    return f"{new!r} added beside {path}"


def _exchange(content: Any, path: tuple[Any, ...], chance: random.Random) -> str:
    parent = _parent(content, path)
    keys: list[Any] = list(range(len(parent))) if isinstance(parent, list) else list(parent)
    other = chance.choice(keys)
    parent[path[-1]], parent[other] = parent[other], parent[path[-1]]
    return f"{path} exchanged with {other!r}"


def _one(folder: Path, chance: random.Random) -> Path:
    return folder / chance.choice((TENSORS, DESCRIPTION))
