"""Chat templates for tokenizers that have none."""

from __future__ import annotations

# Any tokenizer with an end token can write this one: no words of its own are needed.
PLAIN = """\
{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}### Assistant:
{{ message.content }}{{ eos_token }}
{% else %}### {{ message.role | capitalize }}:
{{ message.content }}
{% endif %}{% endfor %}{% if add_generation_prompt %}### Assistant:
{% endif %}"""

# Qwen, SmolLM, Yi and others; the tokenizer needs the words <|im_start|> and <|im_end|>.
CHATML = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

TEMPLATES = {"plain": PLAIN, "chatml": CHATML}
