"""The recipes of VL-Adapter plan with the published numbers of parameters, without data and without weights."""

from __future__ import annotations

import json

import pytest

from adaptkit.cli.main import main
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe

EVERY = "adapter.vl.per_task=multiple"
COUNTS = [
    ("vlbart_image_single", [], 6_081_600, 145_606_464),
    ("vlbart_image_half_shared", [], 12_725_760, 152_250_624),
    ("vlbart_image_half_shared", ["adapter.vl.per_task=half_shared_down"], 12_786_240, 152_311_104),
    ("vlbart_image_multiple", [], 19_430_400, 158_955_264),
    ("vlbart_image_hyperformer", [], 8_579_088, 148_103_952),
    ("vlbart_image_compacter", [], 3_870_240, 143_395_104),
    ("vlbart_image_compacter", [EVERY], 10_584_960, 150_109_824),
    ("vlbart_image_lora", [], 8_786_688, 148_234_752),
    ("vlbart_image_lora", [EVERY], 30_020_352, 169_468_416),
    ("vlbart_image_prompt", [], 2_843_936, 142_417_952),
    ("vlbart_image_prompt", [EVERY], 6_627_200, 146_201_216),
    ("vlbart_image_full", [], 141_156_864, 141_156_864),
    ("vlbart_image_full", ["backbone.train=[]"], 1_582_848, 141_156_864),
    ("vlbart_video_single", [], 4_901_952, 144_426_816),
    ("vlbart_video_lora", [], 7_607_040, 147_055_104),
    ("vlbart_video_prompt", [], 1_664_288, 141_238_304),
    ("vlbart_video_full", [], 139_977_216, 139_977_216),
    ("vlt5_image_single", [], 10_528_128, 233_439_360),
    ("vlt5_image_single", ["adapter.vl.reduction_factor=4"], 19_381_248, 242_292_480),
    ("vlt5_image_full", [], 224_540_160, 224_540_160),
]


@pytest.mark.parametrize(("name", "sets", "trainable", "total"), COUNTS)
def test_published_numbers_of_parameters(name: str, sets: list[str], trainable: int, total: int) -> None:
    counts = make_plan(load_recipe(name, sets=sets)).parameters
    assert (counts.trainable, counts.total) == (trainable, total)


def test_the_command_tells_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "vlbart_image_single", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["parameters"]
    assert (counts["trainable"], counts["total"], round(counts["percent"], 2)) == (6_081_600, 145_606_464, 4.18)
