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

# Families of timm that are not named after their file.
TIMM_FILES = {"timm_vit": "vision_transformer", "timm_resnet": "resnet"}

# Types that `make conformance` leaves to `--all`, to stay within the hour: their code is all but that of another
# one, or they are slow.
REST = {
    "align", "altclip", "bigbird_pegasus", "biogpt", "blenderbot", "blenderbot-small", "bros", "camembert",
    "chinese_clip", "clap", "clipseg", "codegen", "cohere", "ctrl", "data2vec-audio", "data2vec-text",
    "data2vec-vision", "dinov2_with_registers", "dpt", "ernie", "falcon_mamba", "flaubert", "flava", "git", "glm",
    "gpt_bigcode", "gptj", "granite", "groupvit", "helium", "ibert", "idefics3", "ijepa", "instructblip",
    "internvl", "led", "lilt", "longt5", "lxmert", "m2m_100", "mamba2", "megatron-bert", "metaclip_2",
    "mobilenet_v1", "mobilevitv2", "mpt", "mvp", "nemotron", "nomic_bert", "olmo", "openai-gpt", "owlvit",
    "paligemma", "pegasus_x", "persimmon", "plbart", "prophetnet", "pvt", "qwen3_moe", "recurrent_gemma",
    "roberta-prelayernorm", "rwkv", "sew-d", "siglip2", "siglip_vision_model", "smollm3", "speech_to_text",
    "splinter", "stablelm", "starcoder2", "umt5", "unispeech", "unispeech-sat", "vision-text-dual-encoder",
    "vit_msn", "vitdet", "wav2vec2-conformer", "xglm", "xlm", "xlm-roberta-xl", "yolos",
}  # fmt: skip
assert ZOO.keys() >= REST
