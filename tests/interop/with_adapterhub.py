"""AdapterHub's `adapters` itself, in fifteen families: we give its outputs, and it gives ours for what we write.

`adapters` 1.3.0 needs transformers 4.57 and adaptkit transformers 5, so it runs in a process of its own, in the Python
that $ADAPTERHUB_PYTHON names. `make interop` makes one; `make test` has its files as goldens instead.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adaptkit.anatomy import resolve, tokenizer
from adaptkit.artifact import convert, export_adapterhub, load_artifact
from adaptkit.errors import ArtifactError

SIDE = Path(__file__).with_name("adapterhub_side.py")
PREFIXES = ("prefix", "prefix_mlp", "mam")
NO_KEYS = "are not those of 0 attentions"  # no attention interface of transformers, so no prefixes here
COUNTED = "counts the prefix in the relative positions"
SCALED = "BEiT scales what a branch returns"
SECOND = "gives the second branch what the first returned"
REFUSED = {
    **{("t5", name): COUNTED for name in PREFIXES},
    **{("deberta-v2", name): NO_KEYS for name in PREFIXES},
    **{("gptj", name): NO_KEYS for name in PREFIXES},
    **{("beit", name): SCALED for name in ("double_seq_bn", "learned", "compacter", "par_bn", "mam")},
    **{("gptj", name): SECOND for name in ("par_bn", "mam")},
}


def run(word: str, folder: Path) -> None:
    subprocess.run([os.environ["ADAPTERHUB_PYTHON"], "-W", "ignore", str(SIDE), word, str(folder)], check=True)


def test_every_adapter_in_every_family_goes_both_ways(tmp_path: Path) -> None:
    run("make", tmp_path)
    words: Any = tokenizer(resolve("minilm"))
    compared = 0
    for place in sorted(tmp_path.glob("*/*")):
        if not (place / "io.safetensors").exists():
            continue
        family, backbone = place.parent.name, place.parent / "backbone"
        if not list(backbone.glob("tokenizer*")) and family not in ("vit", "beit", "clip_vision_model"):
            words.save_pretrained(backbone)
        reason = REFUSED.get((family, place.name))
        if reason is not None:
            with pytest.raises(ArtifactError, match=reason):
                convert(place, place / "ours", backbone=str(backbone))
            continue
        convert(place, place / "ours", backbone=str(backbone))
        io = load_file(place / "io.safetensors")
        model: Any = load_artifact(place / "ours").backbone
        with torch.no_grad():
            found = model(**{key.removeprefix("in."): value for key, value in io.items() if key != "out"})
        torch.testing.assert_close(found.last_hidden_state, io["out"], rtol=1e-5, atol=1e-5, msg=str(place))
        export_adapterhub(place / "ours", place / "theirs")
        shutil.rmtree(place / "ours")
        compared += 1
    run("load", tmp_path)
    told = json.loads((tmp_path / "loaded.json").read_text())
    assert len(told) == compared > 140
    for name, answers in told.items():
        assert len(answers) == 2, f"{name}: {answers}"  # a difference for each file format, and no key that it missed
        assert max(answers) < 1e-5, f"{name}: {answers}"
