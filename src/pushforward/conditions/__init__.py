"""What a flow is conditioned on: named conditions, each with its own null.

A `Context` maps names ("label", "vector", "text", …) to the conditions of a batch of rows. A flow has a kind for each
name, which reads the user's labels, vectors or images once. A condition is null in the rows that are not conditioned on
it. Each network has its own embeddings of a condition and of its null. Guidance drops conditions by name.
"""

from pushforward.conditions.context import (
    Condition,
    Context,
    batch_shape,
    broadcast,
    concatenate,
    drop,
    each,
    expand,
    find,
    rows,
)
from pushforward.conditions.kinds import (
    Array,
    Image,
    Kind,
    Label,
    NoiseLevel,
    Number,
    Text,
    TokenIds,
    Values,
    Vector,
    by_name,
    read,
)
from pushforward.conditions.kinds import (
    Given as Given,
)

__all__ = [
    "Array", "Condition", "Context", "Image", "Kind", "Label", "NoiseLevel", "Number", "Text", "TokenIds", "Values",
    "Vector", "batch_shape", "broadcast", "by_name", "concatenate", "drop", "each", "expand", "find", "read", "rows",
]  # fmt: skip
