"""The model card of a run: model, data, cost, results and limits."""

from typing import Any

import torch

from pushforward.models import Parts
from pushforward.recipe import Recipe, to_json
from pushforward.version import __version__

LONG = 20_000  # characters of a recipe, which the card then leaves to recipe.json

TEMPLATE = """---
library_name: pushforward
tags: [normalizing-flow]
---

# A {model} of {data}

A normalizing flow of {data}: it draws samples, and computes exact densities.

    flow = pushforward.load("this folder")
    x = flow.sample({call})
    log_p = flow.log_prob(x{context})  # nats

| | |
|---|---|
| model | `{configuration}` |
| parameters | {parameters:,} |
| data | `{source}`, encoded by `{codec}` |
| training | {training}; torch {torch}, pushforward {version} |

## Results

{results}

## Limits

Where integers are dequantised, bits/dim are upper bounds, comparable only under the same dequantisation. Inputs unlike
the training data may have a high density: a density alone does not detect them. Samples may reproduce training data,
including people in it.

## Licence

None is stated for these weights. The training data have their own terms.

## Recipe

{recipe}
"""


def text(recipe: Recipe, last: dict[str, float], results: dict[str, Any]) -> str:
    """The card, in Markdown. `last` is the last line of the log."""
    with torch.device("meta"):
        flow = recipe.model.build()
    saved = to_json(recipe)
    needed = [name for name, kind in flow.conditions.items() if not kind.optional]
    context = f"torch.arange({flow.classes})" if flow.classes and len(needed) == 1 else "context" if needed else ""
    size = f", size={tuple(n or 8 for n in flow.event)}" if None in flow.event else ""
    return TEMPLATE.format(
        model="flow" if isinstance(recipe.model, Parts) else type(recipe.model).__name__,
        data=str(recipe.data),
        source=repr(recipe.data),
        call=(f"(), {context}" if context else "16") + size,
        context=f", {context}" if context else "",
        configuration=recipe.model,
        parameters=sum(p.numel() for p in flow.parameters()),
        codec=recipe.codec,
        training=_training(last, recipe.train.batch),
        torch=torch.__version__,
        version=__version__,
        results="\n".join(f"- {name}: {result['text']}" for name, result in results.items())
        or "None yet: `pushforward evaluate` adds them.",
        recipe=f"```json\n{saved}```" if len(saved) < LONG else "In `recipe.json`: it lists the flow part by part.",
    )


def _training(last: dict[str, float], batch: int) -> str:
    if not last:
        return "not logged"
    precision = f" in {last['precision']}" if "precision" in last else ""
    return f"{int(last['step']):,} steps of {batch} events{precision}, {last.get('seconds', 0) / 3600:.1f} hours"
