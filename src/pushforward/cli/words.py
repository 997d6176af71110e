"""Fields of a model that the command line sets by a word."""

from dataclasses import replace
from typing import Any


def with_words(model: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """The model with the fields that arguments set by a word (`--model.permutation shuffle`), and other arguments."""
    others, pending = [], iter(arguments)
    for argument in pending:
        option, _, word = argument.partition("=")
        field = option.removeprefix("--model.")
        if field != option and field in model.words:
            model = replace(model, **{field: word or next(pending, "")})
        else:
            others.append(argument)
    return model, others
