"""What a recipe says of the result of its runs."""

import inspect
import re
from typing import Any

from pushforward.recipe import Recipe, differences
from pushforward.recipes import RECIPES

RESULT = re.compile(r"\b(Expect\b|Published:).*", re.DOTALL)  # which ends the docstring of a recipe


def expected(recipe: Recipe) -> dict[str, Any] | None:
    """The name of the recipe that a run follows, the result that its docstring states, and where the two differ.

    It is the most similar of the recipes with the same codec, model and objective, and data of the same kind. They may
    differ in the place of the data and in the plan. None where there is no such recipe.

    >>> expected(pf.recipes.digits())["text"]
    'Expect 98 % of the held-out digits classified correctly, and guided samples that look like digits.'
    """
    found = {name: differences(recipe, make()) for name, make in RECIPES.items()}
    place = f"data.{recipe.data.place}"
    alike = [name for name, there in found.items() if all(f.startswith("train.") or f == place for f, *_ in there)]
    if not alike:
        return None
    name = min(alike, key=lambda name: len(found[name]))
    told = RESULT.search(inspect.getdoc(RECIPES[name]) or "")
    return {
        "recipe": name,
        "text": " ".join(told[0].split()) if told else "",
        "differs": [f"{field} {here}, not {there}" for field, here, there in found[name]],
    }
