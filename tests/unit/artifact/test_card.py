"""The model card, word for word: what a reader sees of an artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptkit.artifact.card import write_card
from adaptkit.artifact.format import HASH, Description

MARK = "sha256:" + "7" * 64
GRAFTS: list[dict[str, Any]] = [
    {"adapter": "fuse", "kind": "gmu", "site": "mlp.out", "layer": layer, "parameters": 1200} for layer in (0, 1, 2)
]
GRAFTS += [{"adapter": "low", "kind": "lora", "site": "attn.q", "layer": layer, "parameters": 64} for layer in (3, 1)]
GRAFTS += [{"adapter": "low", "kind": "lora", "site": "attn.v", "layer": 2, "parameters": 64}]
GRAFTS += [{"adapter": "end", "kind": "wander", "site": "fusion", "layer": None, "parameters": 5}]

CARD = """\
# films

An adapter for `google-bert/bert-base-uncased`, made with adaptkit 0.9.
3,733 trained parameters beside 1,000,000 of the backbone (0.37 % of 1,003,733).
Folded twice.

The backbone is not part of this folder. It is found by its name (`google-bert/bert-base-uncased`, revision `main`)
and must have the fingerprint `MARK`.
The tower of poster is not part of this folder. It is found by its name (`timm/resnet18`)
and must have the fingerprint `MARK`.

## Adapters

| adapter | kind | site | layers | parameters |
| --- | --- | --- | --- | --- |
| fuse | gmu | `mlp.out` | 0-2 | 3,600 |
| low | lora | `attn.q` | 1, 3 | 128 |
| low | lora | `attn.v` | 2 | 64 |
| end | wander | `fusion` | - | 5 |

## Labels

| task | labels, in the order of the outputs |
| --- | --- |
| genre | a\\|b, c |

## Results

| split | genre.accuracy | loss |
| --- | --- | --- |
| validation | 0.5000 | - |
| test | - | 1.2346 |

## How to use

`THIS_FOLDER` is the path of the folder that this file is in.

```python
import adaptkit as ak  # pip install adaptkit

model = ak.load_artifact("THIS_FOLDER")
sample = {
    "question": "some text",  # a text
    "features": [0.0] * 4,    # a list, an array or the path of an .npy file
}
print(model.predict([sample]))
```

Or for a file with these columns (.jsonl, .csv, .tsv or .parquet):

```
adaptkit predict THIS_FOLDER --input samples.csv --output predictions.csv
```

`adapter.json` holds the complete recipe.
""".replace("MARK", MARK)

OWN = """\
# films

An adapter with its backbone, made with adaptkit 0.9.

The backbone lies in this folder itself, as transformers reads it.
The tower of poster lies in `./towers/poster`, as timm reads it.

## How to use

It has no task. A recipe with adapters of the same kinds and options at the same sites starts from it:

```toml
init_from = "THIS_FOLDER"
```

`adaptkit merge THIS_FOLDER --output DIR` folds it into its backbone where it folds.
`adapter.json` holds the complete recipe.
"""


@pytest.fixture
def described(tiny_run: Path) -> dict[str, Any]:
    """adapter.json of a small run, with towers."""
    content = json.loads((tiny_run / "artifact" / "adapter.json").read_text())
    base = content["base"] | {"id": "google-bert/bert-base-uncased", "revision": "main", "fingerprint": MARK}
    tower = base | {"id": "timm/resnet18", "library": "timm", "revision": None}
    content |= {"name": "films", "base": base, "towers": {"poster": tower}, "adaptkit": "0.9", "note": "Folded twice."}
    del content[HASH]
    return content


def test_the_card_of_an_adapter(described: dict[str, Any]) -> None:
    described |= {
        "labels": {"genre": ["a|b", "c"], "stars": None},
        "metrics": {"validation": {"genre.accuracy": 0.5}, "test": {"genre.accuracy": None, "loss": 1.23456}},
        "parameters": {"trainable": 3733, "backbone": 1_000_000, "total": 1_003_733, "percent": 0.3719},
    }
    assert write_card(Description.model_validate(described), GRAFTS) == CARD


def test_the_card_of_a_folder_with_its_models_and_without_a_task(described: dict[str, Any]) -> None:
    described["base"]["id"] = "."
    described["towers"]["poster"]["id"] = "./towers/poster"
    described |= {"labels": {}, "metrics": {}, "parameters": {}, "note": ""}
    assert write_card(Description.model_validate(described), []) == OWN
