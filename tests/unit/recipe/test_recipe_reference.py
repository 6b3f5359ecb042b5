"""The generated reference names every key there is."""

from __future__ import annotations

from adaptkit.recipe import adapter_signatures
from adaptkit.recipe.reference import reference_markdown
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import tables_of


def test_every_key_and_keyword_has_a_row():
    text = reference_markdown()
    for name in ("bottleneck", "patience", "width", "questions_per_image", "label_smoothing", "schema"):
        assert f"| `{name}` |" in text
    for signature in adapter_signatures().values():
        assert f'### `kind = "{signature.kind}"`' in text
        assert all(f"| `{name}` |" in text for name in signature.parameters)


def test_every_key_is_described():
    seen, waiting = set(), [Recipe]
    while waiting:
        table = waiting.pop()
        if table in seen:
            continue
        seen.add(table)
        for name, field in table.model_fields.items():
            assert field.description, f"{table.__name__}.{name} has no description"
            annotation = field.annotation
            waiting += tables_of(annotation) + [
                t for part in getattr(annotation, "__args__", ()) for t in tables_of(part)
            ]
    assert len(seen) > 12


def test_rows_have_four_cells():
    rows = [line for line in reference_markdown().splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in rows} == {5}
