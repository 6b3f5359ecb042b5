"""Several artifacts as one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptkit.adapters.lora import LoRA
from adaptkit.artifact import combine, load_artifact, save_artifact
from adaptkit.artifact.combining import METHODS, average, dare, linear, ties
from adaptkit.artifact.save import fingerprints
from adaptkit.errors import ArtifactError, UsageError
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe, parse_recipe

LABELS = "task.answer.labels=['no', 'yes']"
ONES, CHANCE = torch.ones(2, dtype=torch.float64), torch.Generator()


def artifact(recipe: Path, folder: Path, seed: int, *sets: str) -> Path:
    return save_artifact(build_model(make_plan(load_recipe(recipe, [LABELS, *sets])), seed=seed), folder)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter.safetensors")


@pytest.mark.parametrize("method", ["average", "ties", "dare"])
def test_an_average_of_one_with_itself_is_that_one(tiny_recipe: Path, tmp_path: Path, method: str) -> None:
    one = artifact(tiny_recipe, tmp_path / "one", 0)
    again = Path(shutil.copytree(one, tmp_path / "again"))
    found = combine([one, again, one], tmp_path / "found", method=method, weights=[1, 2, 0.5], density=1.0)
    before, after = tensors(one), tensors(found)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "Combined by" in (found / "README.md").read_text()
    load_artifact(found)


def test_sums_add_and_subtract(tiny_recipe: Path, tmp_path: Path) -> None:
    one, other = (artifact(tiny_recipe, tmp_path / str(seed), seed) for seed in (0, 1))
    both = combine([one, other], tmp_path / "both", method="linear")
    back = combine([both, other], tmp_path / "back", method="linear", weights=[1, -1])
    before, after, found = tensors(one), tensors(other), tensors(both)
    for name, value in tensors(back).items():
        torch.testing.assert_close(found[name], before[name] + after[name])
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)


LORA = {"a": {"kind": "lora", "rank": 2, "alpha": 3.0, "at": ["attn.q", "mlp.up"]}}


def low_rank(backbone: Path, folder: Path, seed: int, adapters: dict[str, Any], train: list[str]) -> Path:
    """An artifact whose adapters and norms are not what they began as."""
    document = {
        "schema": 1,
        "name": "low_rank",
        "backbone": {"model": str(backbone), "train": train},
        "modality": {"question": {"kind": "text", "route": "backbone"}},
        "adapter": adapters,
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "classification", "labels": ["a", "b"]}},
    }
    model = build_model(make_plan(parse_recipe(document)))
    original = fingerprints(model)[""]
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=chance))
    return save_artifact(model, folder, base_fingerprint=original)


def changes(folder: Path) -> dict[str, torch.Tensor]:
    adapters = {name: each for name, each in load_artifact(folder).named_modules() if isinstance(each, LoRA)}
    return {name: each.delta_weight().detach() for name, each in adapters.items()}


def test_svd_takes_the_products_and_not_the_factors(tiny_bert: Path, tmp_path: Path) -> None:
    one, other = (low_rank(tiny_bert, tmp_path / str(seed), seed, LORA, []) for seed in (0, 1))
    found = combine([one, other], tmp_path / "found", method="svd", weights=[3, 1])
    wanted = {name: 0.75 * change + 0.25 * changes(other)[name] for name, change in changes(one).items()}
    for name, change in changes(found).items():
        left, values, right = torch.linalg.svd(wanted[name].double(), full_matrices=False)
        best = (left[:, :2] * values[:2]) @ right[:2]
        torch.testing.assert_close(change.double(), best, rtol=0, atol=1e-6)
    assert len(wanted) == len(changes(found)) > 3
    assert "leaves out up to 0." in (found / "README.md").read_text()
    alone = combine([one, Path(shutil.copytree(one, tmp_path / "again"))], tmp_path / "same", method="svd")
    for name, change in changes(alone).items():
        torch.testing.assert_close(change, changes(one)[name], rtol=0, atol=1e-6)
    for name in ("heads.y.weight", "heads.y.bias"):
        assert torch.equal(tensors(alone)[name], tensors(one)[name])


def test_svd_needs_a_product(tiny_recipe: Path, tmp_path: Path) -> None:
    one, other = (artifact(tiny_recipe, tmp_path / str(seed), seed) for seed in (0, 1))
    with pytest.raises(UsageError, match="no low-rank adapter"):
        combine([one, other], tmp_path / "found", method="svd")


@pytest.mark.parametrize("method", ["task-arithmetic", "ties", "dare"])
def test_trained_parts_of_the_backbone_count_from_what_they_were(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    one, other = (low_rank(tiny_bert, tmp_path / str(seed), seed, LORA, ["norm"]) for seed in (0, 1))
    found = combine([one, other], tmp_path / "found", method=method, density=1.0, weights=[1, 1])
    before, after, both = tensors(one), tensors(other), tensors(found)
    plain = load_file(tiny_bert / "model.safetensors")
    norms = [name for name in both if name.removeprefix("backbone.") in plain]
    assert len(norms) > 5
    for name in norms:
        start = plain[name.removeprefix("backbone.")]
        values = torch.stack([before[name] - start, after[name] - start]).double()
        wanted = METHODS[method](values.flatten(1), ONES, 1.0, CHANCE).view(start.shape) + start
        torch.testing.assert_close(both[name], wanted.float(), rtol=0, atol=1e-6)
    if method == "task-arithmetic":  # and a change is taken away again
        back = tensors(combine([found, other], tmp_path / "back", method=method, weights=[1, -1]))
        for name, value in back.items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)


def test_ties_keeps_the_largest_of_the_sign_that_has_more() -> None:
    values = torch.tensor([[4.0, -3.0, 0.1, 2.0], [2.0, 5.0, 0.2, -0.1]], dtype=torch.float64)
    # Of each the larger half: 4 and -3; 2 and 5. The first agree; the second's sum, 2, elects plus; the rest is cut.
    assert ties(values, ONES, 0.5, CHANCE).tolist() == [3.0, 5.0, 0.0, 0.0]
    assert ties(values, torch.tensor([3.0, 1.0]).double(), 0.5, CHANCE).tolist() == [3.5, -3.0, 0.0, 0.0]


def test_ties_counts_ones_as_all_other_numbers() -> None:
    """Zeros have no sign and no share; the least that is kept may be as large as one that is not."""
    values = torch.tensor([[1.0, 1.0, -2.0, 0.0], [3.0, -1.0, -2.0, 0.0]], dtype=torch.float64)
    found = ties(values, ONES, 1.0, CHANCE)
    torch.testing.assert_close(found, torch.tensor([2.0, 0.0, -2.0, 0.0], dtype=torch.float64))


def test_dare_drops_and_scales() -> None:
    values = torch.ones(2, 20_000, dtype=torch.float64)
    found = dare(values, ONES, 0.25, torch.Generator().manual_seed(0))
    assert set(found.tolist()) == {0.0, 2.0, 4.0}
    assert abs(found.mean() - 1) < 0.05
    assert torch.equal(average(values, ONES, 1.0, CHANCE), values[0])
    assert torch.equal(linear(values, -ONES, 1.0, CHANCE), -2 * values[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("adapter.fuse.bottleneck=5", "has other tensors than"),
        ("task.answer.labels=['yes', 'no']", "has the labels"),
        ("modality.features.missing='zero'", ""),
        ("adapter.fuse.activation='relu'", r"adapter\.fuse\."),
    ],
)
def test_others_are_refused(tiny_recipe: Path, tmp_path: Path, change: str, message: str) -> None:
    one, other = artifact(tiny_recipe, tmp_path / "one", 0), tmp_path / "other"
    if not message:  # what fills in for an absent modality may differ
        combine([one, artifact(tiny_recipe, other, 1, change)], tmp_path / "found")
        return
    with pytest.raises(ArtifactError, match=message):
        combine([one, artifact(tiny_recipe, other, 1, change)], tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_another_backbone_is_refused(tiny_recipe: Path, tiny_bert: Path, tmp_path: Path) -> None:
    one = artifact(tiny_recipe, tmp_path / "one", 0)
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).flatten()[0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    other = artifact(tiny_recipe, tmp_path / "other", 0, f"backbone.model={folder.as_posix()}")
    with pytest.raises(ArtifactError, match="belongs to another backbone"):
        combine([one, other], tmp_path / "found")


def test_wrong_words(tiny_recipe: Path, tmp_path: Path) -> None:
    one = artifact(tiny_recipe, tmp_path / "one", 0)
    wrong: list[tuple[dict[str, object], str]] = [
        ({"method": "avrage"}, "there is no method 'avrage'"),
        ({"weights": [1.0]}, "1 weights for 2 artifacts"),
        ({"weights": [1.0, -1.0]}, "give no average"),
        ({"method": "ties", "density": 0.0}, "is no share"),
    ]
    for options, message in wrong:
        with pytest.raises(UsageError, match=message):
            combine([one, one], tmp_path / "found", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two artifacts or more"):
        combine([one], tmp_path / "found")
    assert set(METHODS) == {"average", "linear", "task-arithmetic", "ties", "dare", "svd"}
    assert not (tmp_path / "found").exists()
