"""The generated reference names every key there is."""

from __future__ import annotations

from adaptkit.kinds import ADAPTERS
from adaptkit.recipe.reference import reference_markdown
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import kinded_entries, plain_tables


def test_every_key_and_keyword_has_a_row():
    text = reference_markdown()
    for name in ("bottleneck", "patience", "width", "questions_per_image", "label_smoothing", "schema"):
        assert f"| `{name}` |" in text
    for signature in ADAPTERS.kinds.values():
        assert f'### `kind = "{signature.name}"`' in text
        assert all(f"| `{name}` |" in text for name in signature.keys)


def test_every_key_is_described():
    seen, waiting = set(), [Recipe]
    while waiting:
        table = waiting.pop()
        if table in seen:
            continue
        seen.add(table)
        for name, field in table.model_fields.items():
            assert field.description, f"{table.__name__}.{name} has no description"
            kinded = kinded_entries(field)
            waiting += [made for _, made in kinded[1].tables(kinded[0])] if kinded else plain_tables(field.annotation)
    assert len(seen) > 50


def test_rows_have_four_cells():
    rows = [line for line in reference_markdown().splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in rows} == {5}
