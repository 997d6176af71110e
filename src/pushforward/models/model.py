"""What a page in this folder holds: the configuration of a flow, as plain data, that builds it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pushforward.flow import Flow


class Model(ABC):
    """The configuration of a flow: a frozen dataclass of numbers, words and other such dataclasses."""

    @abstractmethod
    def build(self) -> Flow:
        """A fresh flow, of random weights."""

    def small(self) -> Model:
        """The same in miniature: what a test can train. Each page says how; by default it is small already."""
        return self
