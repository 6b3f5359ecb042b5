"""Makes the tokenizer that comes with adaptkit, `tokenizer = "small"`: 1,024 words, for models trained on the spot.

    python benchmarks/small_tokenizer.py

A BPE over bytes, so that every text comes back whole, learned from adaptkit's own documentation and the questions that
`digit_words` asks; with the words of ChatML and its template. It writes into adaptkit/anatomy/tables/tokenizers/small.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from adaptkit.formats.digit_words import ADDING, DESCRIBING, GOING_ON, NAMING, NUMBERS, named
from adaptkit.modalities.chat.templates import CHATML

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "adaptkit" / "anatomy" / "tables" / "tokenizers" / "small"
WORDS = 1024
SPECIAL = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
OFTEN = 400  # times that the questions stand beside the documentation: their words are to be whole


def corpus() -> list[str]:
    asked = [question.format(number) for question in (*NAMING, *ADDING, *DESCRIBING, *GOING_ON) for number in NUMBERS]
    said = [*NUMBERS, *(f"{named(one)} and {named(other)}" for one in range(10) for other in range(10))]
    roles = [f"{role}\n" for role in ("system", "user", "assistant")]
    pages = [page.read_text() for page in sorted(ROOT.glob("docs/*.md")) if "Generated" not in page.read_text()]
    return [*pages, *(asked + said + roles) * OFTEN]


def main() -> None:
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=[AddedToken(word, special=True, normalized=False) for word in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(corpus(), trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.chat_template = CHATML
    made.save_pretrained(FOLDER)
    print(f"{len(made)} words in {FOLDER}")


if __name__ == "__main__":
    main()
