"""`adaptkit schema`: the recipe language as JSON schema, for editors."""

from __future__ import annotations

import json as json_text

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json


def schema(json: Json = False) -> Answer:
    """Print the JSON schema of recipes, for editors.

    A TOML editor checks and completes with it.
    Save it and put this line on top of a recipe:  #:schema ./recipe.schema.json
    """
    from adaptkit.recipe import json_schema

    document = json_schema()
    text = json_text.dumps(document, indent=2, ensure_ascii=False)
    return Answer({"schema": document}, lambda out: out.print(text, soft_wrap=True))
