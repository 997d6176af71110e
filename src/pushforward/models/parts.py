"""A flow as plain data, part by part: the configuration of a flow that no model of this folder built.

A module is described by its class and its attributes, and made again without its constructor. So a chain that was
assembled by hand can be saved, and one imported from another package. The description has names of attributes, which
may change from version to version: where a flow has another model, save that.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Size, Tensor, nn

from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.named import name_of, named

PLAIN = (bool, int, float, str, type(None))
OF_EVERY_MODULE = frozenset(vars(nn.Module()))
TRUSTED = ("pushforward", "torch")  # packages whose functions a saved flow may name


@dataclass(frozen=True)
class Part:
    """A value that is not a number, a word or a tuple, as plain data."""

    form: str  # module, dataclass, namedtuple, reference, partial, list, size, dict, dtype, weight or tensor
    name: str  # of its class, function or dtype
    state: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Parts(Model):
    """A flow, part by part; weights are zero until they are loaded. Parts that are shared become copies.

    >>> from pushforward.transforms import Flip
    >>> flow = pf.Flow(Flip(), pf.bases.StandardNormal(2, 1), event=(2, 1))
    >>> Parts.of(flow).build().sample(5).shape
    torch.Size([5, 2, 1])
    """

    flow: Part = field(repr=False)

    @classmethod
    def of(cls, flow: Flow) -> Parts:
        """The description of a flow. Raises ValueError, naming the attribute, where one cannot be described."""
        return cls(_described(flow, "flow"))

    def build(self) -> Flow:
        flow = _made(self.flow)
        if not isinstance(flow, Flow):
            raise ValueError(f"a flow was saved here, and {self.flow.name} is none.")
        return flow


def _described(value: Any, place: str) -> Any:
    """The value as plain data; `place` is its dotted name, for errors."""
    match value:
        case nn.Module():
            return _module(value, place)
        case Size():
            return Part("size", "", tuple(value))
        case tuple() if type(value) is tuple:
            return tuple(_described(v, f"{place}[{i}]") for i, v in enumerate(value))
        case list():
            return Part("list", "", tuple(_described(v, f"{place}[{i}]") for i, v in enumerate(value)))
        case dict():
            return Part("dict", "", _pairs(value, place))
        case partial():
            given = _pairs(value.keywords, place)
            return Part("partial", "", (_described(value.func, place), _described(value.args, place), given))
        case torch.dtype():
            return Part("dtype", str(value).removeprefix("torch."))
        case Tensor():
            return _tensor(value)
    if type(value) in PLAIN:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        return Part("dataclass", _name(type(value), place), _pairs(given, place))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # such as a `Condition`
        return Part("namedtuple", _name(type(value), place), _pairs(value._asdict(), place))  # pyright: ignore[reportAttributeAccessIssue]
    if callable(value) and hasattr(value, "__qualname__"):
        return Part("reference", _trusted(_name(value, place)))
    raise ValueError(f"{place} is of {type(value).__name__}, which cannot be saved as plain data; give the model.")


def _module(module: nn.Module, place: str) -> Part:
    hooks = [name for name, value in vars(module).items() if "hooks" in name and isinstance(value, dict) and value]
    hooks = [name for name in hooks if name != "_load_state_dict_post_hooks"]  # a flow has one, and answers alike
    if hooks:
        raise ValueError(f"{place} has hooks ({', '.join(hooks)}), which cannot be saved. Remove them first.")
    kept = {name: value for name, value in module._buffers.items() if name not in module._non_persistent_buffers_set}
    others = {name: value for name, value in module._buffers.items() if name not in kept}
    attributes = {name: value for name, value in vars(module).items() if name not in OF_EVERY_MODULE}
    return Part(
        "module",
        _name(type(module), place),
        (
            tuple((name, _weight(value)) for name, value in module._parameters.items()),
            tuple((name, _weight(value)) for name, value in kept.items()),
            _pairs(others, place),
            _pairs(module._modules, place),
            _pairs(attributes, place),
        ),
    )


def _pairs(values: Mapping[str, Any], place: str) -> tuple[tuple[str, Any], ...]:
    return tuple((name, _described(value, f"{place}.{name}")) for name, value in values.items())


def _name(thing: Any, place: str) -> str:
    try:
        return name_of(thing)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _weight(value: Tensor | None) -> Part | None:
    """A tensor of the state dict: its shape alone."""
    return None if value is None else Part("weight", str(value.dtype).removeprefix("torch."), tuple(value.shape))


def _tensor(value: Tensor) -> Part:
    """A tensor that no state dict has, with its values, such as a mask."""
    values = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    text = base64.b64encode(zlib.compress(values, 9)).decode()
    return Part("tensor", str(value.dtype).removeprefix("torch."), (tuple(value.shape), text))


def _made(value: Any) -> Any:
    """The value that was described. Raises ValueError where it names what it may not."""
    if isinstance(value, tuple):
        return tuple(map(_made, value))
    if not isinstance(value, Part):
        return value
    match value.form:
        case "module":
            return _made_module(value)
        case "dataclass":
            return _kind(value.name, is_dataclass)(**dict(_made(value.state)))
        case "namedtuple":
            return _kind(value.name, lambda kind: issubclass(kind, tuple))(**dict(_made(value.state)))
        case "reference":
            return named(_trusted(value.name))
        case "partial":
            function, given, named_ = _made(value.state)
            return partial(function, *given, **dict(named_))
        case "list":
            return list(_made(value.state))
        case "dict":
            return dict(_made(value.state))
        case "size":
            return Size(value.state)
        case "dtype":
            return getattr(torch, value.name)
        case "weight":
            return torch.zeros(value.state, dtype=getattr(torch, value.name))
        case "tensor":
            return _made_tensor(value)
    raise ValueError(f"this version of pushforward knows no part of the form {value.form!r}.")


def _made_module(part: Part) -> nn.Module:
    kind = _kind(part.name, lambda kind: issubclass(kind, nn.Module))
    parameters, kept, others, modules, attributes = (dict(_made(pairs)) for pairs in part.state)
    module: nn.Module = object.__new__(kind)
    nn.Module.__init__(module)
    for name, value in attributes.items():
        setattr(module, name, value)
    for name, value in parameters.items():
        module.register_parameter(name, None if value is None else nn.Parameter(value))
    for name, value in (*kept.items(), *others.items()):
        module.register_buffer(name, value, persistent=name in kept)
    for name, value in modules.items():
        module.add_module(name, value)
    return module


def _made_tensor(part: Part) -> Tensor:
    shape, text = part.state
    values, dtype = bytearray(zlib.decompress(base64.b64decode(text))), getattr(torch, part.name)
    found = torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype, device="cpu")
    return found.reshape(shape).to(torch.get_default_device())


def _kind(name: str, allowed: Any) -> type:
    kind = named(name)
    if not (isinstance(kind, type) and allowed(kind)):
        raise ValueError(f"{name} is neither a module of torch, nor a dataclass or a named tuple.")
    return kind


def _trusted(name: str) -> str:
    if name.partition(":")[0].split(".")[0] not in TRUSTED:
        raise ValueError(
            f"a saved flow may name functions of {' and '.join(TRUSTED)} alone; got {name}. Make it a torch module, or "
            "write a model that builds the flow."
        )
    return name
