"""VQA v2, GQA, COCO captions and NLVR2 as published: rows, targets, images, and what is wrong with a download."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.benchmarks.benchmark import find_benchmark, import_benchmark, synthesise
from adaptkit.benchmarks.scenes import CLAIMS, QUESTIONS, VALUES, held, scene
from adaptkit.data.checking import check_store
from adaptkit.errors import DataError, UnavailableError, UsageError
from adaptkit.modalities.arrays import read_array
from adaptkit.tasks.text_metrics.vqa import vqa_scores

LAYOUTS = {
    "vqa": ("karpathy", "official"),
    "gqa": ("vlt5", "official"),
    "coco_captions": ("karpathy",),
    "nlvr2": ("vlt5", "official"),
}
CLIP = Path("COCO/clip_features/data_clip_RN101_att")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every layout, written once: one folder for the files of VL-T5, one each for the official ones."""
    base = tmp_path_factory.mktemp("published")
    for name, variants in LAYOUTS.items():
        for variant in variants:
            folder = base / (f"{name}-official" if variant == "official" else "vl")
            synthesise(name, folder, variant=variant, samples=18, seed=0, force=True)
    return base


@pytest.fixture
def vl(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published / "vl", tmp_path / "vl")
    return tmp_path / "vl"


@pytest.fixture
def official(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published / "vqa-official", tmp_path / "official")
    return tmp_path / "official"


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_four_data_sets_share_a_folder_and_agree_on_its_images(vl: Path) -> None:
    stores = {name: import_benchmark(name, vl) for name in LAYOUTS}
    assert {name: store.folder.name for name, store in stores.items()} == {name: f"adaptkit-{name}" for name in LAYOUTS}
    for name, store in stores.items():
        assert not check_store(store).problems, name
        assert set(store.splits) == {"train", "validation", "test"}
        row = store.rows("train")[0]
        one = row["image"][0] if name == "nlvr2" else row["image"]
        assert read_array(vl / one, name="image", where="s").shape == (49, 2048)
    assert stores["vqa"].rows("train")[0]["image"] == stores["coco_captions"].rows("train")[0]["image"]


def test_the_label_of_train_and_the_ten_of_the_others(vl: Path) -> None:
    store = import_benchmark("vqa", vl)
    published = json.loads((vl / "vqa" / "karpathy_train.json").read_text())
    rows = store.rows("train")
    assert [row["answer"]["answers"] for row in rows] == [row["label"] for row in published]
    assert [(row["id"], row["text"]) for row in rows] == [(str(r["question_id"]), r["sent"]) for r in published]
    for split in ("validation", "test"):
        for row in store.rows(split):
            ten = row["answer"]["answers"]
            assert len(ten) == 10
            assert row["answer"]["answer_type"] == row["answer_type"]
            assert row["answer_type"] in ("yes/no", "number", "other")
            assert vqa_scores([Counter(ten).most_common(1)[0][0]], [ten]) == [1.0]


def test_questions_without_an_answer_that_counts_are_dropped_from_train_only(vl: Path) -> None:
    edit(vl / "vqa" / "karpathy_train.json", lambda rows: rows[0].update(label={}))
    edit(vl / "vqa" / "karpathy_val.json", lambda rows: rows[0].update(label={}))
    store = import_benchmark("vqa", vl)
    assert store.meta["splits"]["train"] == 17
    assert store.meta["splits"]["validation"] == 6
    assert store.meta["audit"]["train: questions none of whose answers counts are dropped"] == 1


def test_the_answers_of_the_annotators_are_needed_to_evaluate(vl: Path) -> None:
    (vl / "vqa" / "v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(
        DataError, match=r"karpathy_val\.json, \[0\]  the answers of the annotators to question 6000 are not"
    ):
        import_benchmark("vqa", vl)
    for name in ("karpathy_val", "karpathy_test"):  # some copies have them
        edit(vl / "vqa" / f"{name}.json", lambda rows: [row.update(answers=[{"answer": "net"}] * 10) for row in rows])
    store = import_benchmark("vqa", vl)
    assert store.rows("test")[0]["answer"]["answers"] == ["net"] * 10


def test_official_files_give_the_scores_that_are_trained_on(official: Path) -> None:
    annotations = official / "v2_mscoco_train2014_annotations.json"
    ten = ["Net"] * 4 + ["a mesh."] * 3 + ["fence"] * 2 + ["two"]

    def change(data: Any) -> None:
        data["annotations"][0]["answers"] = [{"answer": answer, "answer_id": n} for n, answer in enumerate(ten)]

    edit(annotations, change)
    store = import_benchmark("vqa", official, options={"least": 0, "seed": 1})
    rows = {row["id"]: row for split in ("train", "validation") for row in store.rows(split)}
    assert rows["0"]["answer"]["answers"] == {"net": 1.0, "mesh": 0.9, "fence": 0.6, "2": 0.3}
    assert rows["0"]["image"] == "train2014/COCO_train2014_000000000000.jpg"
    images = {split: {row["image"] for row in store.rows(split)} for split in store.splits}
    assert images["train"].isdisjoint(images["validation"])
    assert all("val2014" in image for image in images["test"])
    common = import_benchmark("vqa", official, options={"least": 4}, to=official / "adaptkit-4")
    kept = {answer for row in common.rows("train") for answer in row["answer"]["answers"]}
    assert kept <= {"yes", "no"} | {value for n in range(12) for value in scene(n, 0).values()}
    assert kept < {answer for row in store.rows("train") for answer in row["answer"]["answers"]}
    with pytest.raises(DataError, match=r"no question of train has an answer that counts.* --option least=4"):
        import_benchmark("vqa", official, options={"least": 99}, to=official / "adaptkit-99")


def test_questions_and_annotations_of_different_versions_are_told(official: Path) -> None:
    edit(official / "v2_mscoco_val2014_annotations.json", lambda data: data["annotations"].pop())
    with pytest.raises(DataError, match=r"questions.json, questions\[5\]  question \d+ has no annotation"):
        import_benchmark("vqa", official, options={"least": 0})


def test_gqa_keeps_leading_zeros_and_may_be_merged_as_published(published: Path, vl: Path, tmp_path: Path) -> None:
    store = import_benchmark("gqa", vl)
    assert store.meta["splits"] == {"train": 18, "validation": 6, "test": 6}
    assert store.rows("train")[0]["id"] == "00000000"
    assert store.rows("test")[0]["image"].startswith("GQA/clip_features/")
    merged = import_benchmark("gqa", vl, options={"merge": True}, to=vl / "adaptkit-merged")
    assert merged.meta["splits"] == {"train": 24, "validation": 6, "test": 6}
    official = import_benchmark("gqa", published / "gqa-official", to=tmp_path / "adaptkit")
    row = official.rows("train")[0]
    assert row["question_type"] in ("query", "verify")
    assert row["answer"]["answers"] in row["full_answer"].lower()
    assert row["answer"]["types"]["structural"] == row["question_type"]
    assert row["image"] == "images/2300000.jpg"


def test_captions_are_one_to_a_row_in_train_and_all_five_elsewhere(vl: Path) -> None:
    store = import_benchmark("coco_captions", vl)
    entries = json.loads((vl / "COCO" / "dataset_coco.json").read_text())["images"]
    of_train = [e for e in entries if e["split"] in ("train", "restval")]
    assert {e["split"] for e in of_train} == {"train", "restval"}
    assert store.meta["splits"]["train"] == 5 * len(of_train)
    assert [row["captions"] for row in store.rows("train")[:5]] == [[s["raw"]] for s in of_train[0]["sentences"]]
    assert all(len(row["captions"]) == 5 for row in store.rows("test"))
    assert [row["text"] for row in store.rows("test")] == [""] * len(store.rows("test"))


def test_nlvr2_has_both_images_and_the_published_identifiers(published: Path, vl: Path, tmp_path: Path) -> None:
    store = import_benchmark("nlvr2", vl)
    row = store.rows("train")[0]
    assert row["id"] == "train-0-0-0"
    assert row["image"] == [row["left"], row["right"]]
    assert row["answer"] == {"answers": row["label"], "identifier": row["id"]}
    assert Counter(row["label"] for row in store.rows("train")) == {"true": 9, "false": 9}
    official = import_benchmark("nlvr2", published / "nlvr2-official", to=tmp_path / "adaptkit")
    row = official.rows("test")[0]
    assert (row["left"], row["right"]) == tuple(f"images/test1/test1-11-0-img{n}.png" for n in range(2))
    assert "image" not in official.columns
    texts = [{row["text"]: row["label"] for row in official.rows("train")[n : n + 2]} for n in (0, 2)]
    assert all(len(found) == 1 for found in texts)  # the same sentence is true of one pair and false of the other


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_text_alone_does_not_tell_the_answer(published: Path, tmp_path: Path, name: str) -> None:
    """Of the answers to one text no majority is far above chance, and the image says which is right."""
    synthesise(name, tmp_path / "d", samples=300, seed=3) if name == "nlvr2" else None
    if name == "nlvr2":
        rows = [*import_benchmark(name, tmp_path / "d").rows("train")]
        found = {row["text"]: [r["label"] for r in rows if r["text"] == row["text"]] for row in rows}
        assert all(abs(answers.count("true") / len(answers) - 0.5) < 1e-9 for answers in found.values())
        return
    for number in range(40):
        features = np.where(held(scene(number, 0)), 1.0, 0.0)
        assert features.sum() == 3  # one color, one shape, one number
    shown = [tuple(scene(number, 0).values()) for number in range(400)]
    for place in range(3):
        counts = Counter(each[place] for each in shown)
        assert max(counts.values()) < 1.35 * len(shown) / len(counts)


@pytest.mark.parametrize(
    ("name", "variant", "file"),
    [
        (name, variant, file)
        for name, variants in LAYOUTS.items()
        for variant in variants
        for file in ("json", "images")
    ],
)
def test_what_is_missing_is_named(published: Path, tmp_path: Path, name: str, variant: str, file: str) -> None:
    root = tmp_path / "d"
    shutil.copytree(published / (f"{name}-official" if variant == "official" else "vl"), root)
    for path in sorted(root.rglob("*")):
        doomed = path.suffix in (".jpg", ".png", ".h5") if file == "images" else path.suffix == ".json"
        if path.is_file() and doomed:
            path.unlink()
    expected = (
        "has none of: .h5 files in|has none of: .*pictures in" if file == "images" else "is not .* expected there"
    )
    with pytest.raises(DataError, match=expected):
        import_benchmark(name, root)
    assert not list(root.glob("adaptkit*"))


def test_too_many_missing_images_stop_the_import_and_a_few_are_absent(vl: Path) -> None:
    features = sorted((vl / CLIP).iterdir())
    features[0].unlink()
    store = import_benchmark("vqa", vl)
    assert store.rows("train")[0]["image"] is None
    assert store.meta["audit"]["image: the file is missing"] == 1
    for path in features[1:7]:
        path.unlink()
    with pytest.raises(DataError, match=r"6 of \d+ feature files do not exist.* --option missing=0\."):
        import_benchmark("vqa", vl, force=True)
    import_benchmark("vqa", vl, force=True, options={"missing": 0.9})


def test_features_of_another_width_or_none_at_all_are_told(vl: Path) -> None:
    import h5py

    files = sorted((vl / CLIP).glob("*train2014*"))
    with h5py.File(files[2], "w") as file:
        file[f"{files[2].stem}/features"] = np.zeros((49, 512), np.float32)
    with pytest.raises(DataError, match=r"has shape \(49, 512\), not \(T, 2048\)"):
        import_benchmark("vqa", vl)
    files[2].write_bytes(b"no hdf5")
    store = import_benchmark("vqa", vl)
    assert any("broken feature files count as absent" in note for note in store.meta["audit"])


def test_an_array_that_lies_in_another_file_is_not_read(vl: Path) -> None:
    import h5py

    victim = sorted((vl / CLIP).glob("*train2014*"))[0]
    with h5py.File(vl.parent / "secret.h5", "w") as file:
        file["a"] = np.ones((49, 2048), np.float32)
    with h5py.File(victim, "w") as file:
        file[f"{victim.stem}/features"] = h5py.ExternalLink(str(vl.parent / "secret.h5"), "a")
    store = import_benchmark("vqa", vl)
    assert [row["image"] for row in store.rows("train")][:3] == [None] * 3
    assert any("broken feature files count as absent" in note for note in store.meta["audit"])


@pytest.mark.parametrize("image", ["../../secret", "/etc/passwd", "a/b", "..", "", 3.5, None])
def test_no_image_outside_the_folder_is_named(vl: Path, image: Any) -> None:
    edit(vl / "vqa" / "karpathy_train.json", lambda rows: rows[0].update(img_id=image))
    with pytest.raises(DataError, match=r"karpathy_train\.json, \[0\]  the id"):
        import_benchmark("vqa", vl)
    assert not list(vl.glob("adaptkit*"))


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("vqa", "vqa/karpathy_train.json", {"label": {"net": 2}}, r"label is .* not an object of answers with scores"),
        ("vqa", "vqa/karpathy_train.json", {"sent": 3}, "sent or question is of type int, not text"),
        ("vqa", "vqa/karpathy_train.json", {"question_id": None}, "the id None is neither a number nor a name"),
        ("gqa", "GQA/valid.json", {"label": {}}, "label is {}, not an object with the answer"),
        ("nlvr2", "nlvr/test.json", {"label": 2}, "label is 2, not 0 or 1"),
    ],
)
def test_wrong_values_are_told_with_their_place(vl: Path, name: str, file: str, change: Any, message: str) -> None:
    edit(vl / file, lambda rows: rows[1].update(change))
    with pytest.raises(DataError, match=rf"{Path(file).name}, \[1\]  {message}"):
        import_benchmark(name, vl)


def test_wrong_captions_are_told_with_their_place(vl: Path) -> None:
    path = vl / "COCO" / "dataset_coco.json"
    edit(path, lambda data: data["images"][1].update(split="training"))
    with pytest.raises(DataError, match=r"dataset_coco\.json, images\[1\]  the split 'training' is not one of train"):
        import_benchmark("coco_captions", vl)
    edit(path, lambda data: data["images"][1].update(split="val", sentences=[]))
    with pytest.raises(DataError, match=r"images\[1\]  a list `sentences` of objects"):
        import_benchmark("coco_captions", vl)


def test_the_features_of_one_of_several_models_are_chosen(vl: Path) -> None:
    shutil.copytree(vl / CLIP, vl / "COCO/clip_features/data_clip_ViT_att")
    with pytest.raises(DataError, match=r"several models: RN101, ViT\. Say which: --option features=RN101"):
        import_benchmark("coco_captions", vl)
    store = import_benchmark("coco_captions", vl, options={"features": "ViT"})
    assert "data_clip_ViT_att" in store.rows("train")[0]["image"]
    with pytest.raises(DataError, match=r"no features 'RN50' \(there are: RN101, ViT\)"):
        import_benchmark("coco_captions", vl, options={"features": "RN50"}, force=True)


def test_synth_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UnavailableError, match=r"adaptkit\[hdf5\]"):
        synthesise("vqa", tmp_path / "d", samples=6)


def test_options_are_checked(vl: Path) -> None:
    with pytest.raises(UsageError, match="nlvr2 has no option 'leest'"):
        import_benchmark("nlvr2", vl, options={"leest": 3})
    assert set(find_benchmark("vqa").options()) == {"features", "images", "missing", "validation", "seed", "least"}


def test_targets_say_what_the_metrics_of_each_task_ask_for(published: Path, vl: Path, tmp_path: Path) -> None:
    from adaptkit.tasks.text_metrics.sets import GqaMetrics, Nlvr2Metrics, VqaMetrics

    def perfect(name: str, root: Path, metrics: Any) -> dict[str, float | None]:
        store = import_benchmark(name, root, to=tmp_path / f"store-{name}", force=True)
        targets = [target for split in ("validation", "test") for target in store.rows(split).column("answer")]
        said = [each["answers"] for each in targets]
        return metrics().of_texts([one if isinstance(one, str) else one[0] for one in said], targets)[0]

    vqa = perfect("vqa", vl, VqaMetrics)
    assert [vqa[f"vqa_{part}"] for part in ("accuracy", "yes_no", "number", "other")] == [1.0] * 4
    assert perfect("nlvr2", vl, Nlvr2Metrics) == {"nlvr2_accuracy": 1.0, "nlvr2_consistency": 1.0}
    assert perfect("gqa", vl, GqaMetrics)["gqa_accuracy"] == 1.0
    gqa = perfect("gqa", published / "gqa-official", GqaMetrics)
    assert (gqa["gqa_accuracy"], gqa["gqa_binary"], gqa["gqa_open"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", ["vqa", "gqa"])
def test_the_image_tells_the_answer_to_its_question_and_the_question_alone_does_not(tmp_path: Path, name: str) -> None:
    """By reading the raised block of the attribute that is asked for; by the commonest answer to the same question."""
    synthesise(name, tmp_path, samples=180, seed=1)
    store = import_benchmark(name, tmp_path)

    def right(row: dict[str, Any]) -> str:
        answers = row["answer"]["answers"]
        return answers if isinstance(answers, str) else max(answers, key=answers.get)

    def told(row: dict[str, Any]) -> str:
        means = read_array(tmp_path / row["image"], name="image", where="s").mean(0)  # (2048,)
        size = len(means) // 11
        raised = [means[n * size : (n + 1) * size].mean() for n in range(11)]
        words = [value for values in VALUES.values() for value in values]
        about = next(about for about, claim in CLAIMS.items() if _asks(row["text"], about, claim))
        start = words.index(VALUES[about][0])
        shown = VALUES[about][int(np.argmax(raised[start : start + len(VALUES[about])]))]
        claimed = [value for value in VALUES[about] if row["text"] == CLAIMS[about].format(value)]
        return shown if not claimed else "yes" if claimed == [shown] else "no"

    rows = [*store.rows("train")]
    assert np.mean([told(row) == right(row) for row in rows]) == 1.0
    known = {row["text"]: Counter(right(each) for each in rows if each["text"] == row["text"]) for row in rows}
    asked = [row for row in rows if sum(known[row["text"]].values()) > 12]
    assert np.mean([known[row["text"]].most_common(1)[0][0] == right(row) for row in asked]) < 0.55


def _asks(text: str, about: str, claim: str) -> bool:
    return text in QUESTIONS[about] or any(text == claim.format(value) for value in VALUES[about])
