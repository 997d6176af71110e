"""The model card of a run: model, data, cost, results and limits."""

from __future__ import annotations

from typing import Any

import torch

from pushforward.recipe import Recipe, to_json
from pushforward.version import __version__

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
| training | {steps:,} steps of {batch} events{precision}, {hours:.1f} hours; torch {torch}, pushforward {version} |

## Results

{results}

## Limits

Where integers are dequantised, bits/dim are upper bounds, comparable only under the same dequantisation. Inputs unlike
the training data may have a high density: a density alone does not detect them. Samples may reproduce training data,
including people in it.

## Licence

None is stated for these weights. The training data have their own terms.

## Recipe

```json
{recipe}```
"""


def text(recipe: Recipe, last: dict[str, float], results: dict[str, Any]) -> str:
    """The card, in Markdown. `last` is the last line of the log."""
    with torch.device("meta"):
        flow = recipe.model.build()
    context = f"torch.arange({flow.classes})" if flow.classes else "context" if recipe.data.context else ""
    return TEMPLATE.format(
        model=type(recipe.model).__name__,
        data=recipe.data,
        source=repr(recipe.data),
        call=f"(), {context}" if context else "16",
        context=f", {context}" if context else "",
        configuration=recipe.model,
        parameters=sum(p.numel() for p in flow.parameters()),
        codec=recipe.codec,
        steps=int(last.get("step", 0)),
        batch=recipe.train.batch,
        precision=f" in {last['precision']}" if "precision" in last else "",
        hours=last.get("seconds", 0) / 3600,
        torch=torch.__version__,
        version=__version__,
        results="\n".join(f"- {name}: {result['text']}" for name, result in results.items())
        or "None yet: `pushforward evaluate` adds them.",
        recipe=to_json(recipe),
    )
