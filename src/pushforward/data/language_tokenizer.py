"""The tokenizer of a language model, and how the model expects a conversation to be written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from pushforward.data.tokenizers import Tokenizer
from pushforward.networks.language_files import TokenizerFiles, language_files
from pushforward.optional import require


@dataclass(frozen=True)
class LanguageTokenizer(Tokenizer):
    """The tokenizer of a language model by name, as `FrozenLanguageModel.pretrained` takes it. Every text has tokens.

    Needs the package `tokenizers` (the extra "lm"). The names of special tokens, such as <|im_end|>, are read as these.
    """

    name: str = "smollm2"
    unit: ClassVar[str] = "token"  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def vocabulary(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return language_files(self.name).sizes.vocabulary

    @property
    def begin(self) -> int:
        """The token that begins a text."""
        return _loaded(self.name)[1].begin

    @property
    def end(self) -> int:
        """The token that ends it."""
        return _loaded(self.name)[1].end

    def encode(self, text: str) -> np.ndarray:
        return np.array(_loaded(self.name)[0].encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        return _loaded(self.name)[0].decode(list(tokens), skip_special_tokens=False)

    def conversation(self, messages: Sequence[Mapping[str, str]], *, asked: bool = True) -> str:
        """Messages, each with a "role" ("system", "user", "assistant") and its "content", as the model reads them.

        If `asked` the text ends where the assistant's answer begins. Raises ValueError where the model has no template.
        """
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # torch needs it too

        if not (chat := _loaded(self.name)[1].chat):
            raise ValueError(f"the language model {self.name} was not made for conversations: it has no template.")
        template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(chat)
        ends = {"bos_token": self.decode([self.begin]), "eos_token": self.decode([self.end])}
        return template.render(messages=[dict(message) for message in messages], add_generation_prompt=asked, **ends)


@lru_cache(maxsize=1)
def _loaded(name: str) -> tuple[Any, TokenizerFiles]:
    """The tokenizer, of the package `tokenizers`, and what it was made of."""
    found = language_files(name).tokenizer()
    tokenizer = require("tokenizers", "lm").Tokenizer.from_str(found.tokenizer)
    tokenizer.no_truncation()  # which a file may ask for, as it may for padding
    tokenizer.no_padding()
    return tokenizer, found
