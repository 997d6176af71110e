"""A stack of compressed bits, by asymmetric numeral systems: what is pushed last is popped first.

Popping a symbol under a distribution and pushing it again under the same one leaves the stack as it was. Popping from
random bits draws a sample. Duda 2009, arXiv:0902.0271; the coder is that of the package `constriction`.
"""

from typing import Any

import numpy as np

from pushforward.optional import require

Integers = np.ndarray  # int64
Reals = np.ndarray  # float64

FINEST = 4  # a deviation is 2^4 … 2^5 symbols wide
NEAR = 256  # symbols, 8 to 16 deviations, from the mean; each has a probability of 2^−24 at least, so there must be few
FAR = 13  # bits of what lies beyond, up to 256 deviations from the mean
DIGIT = 20  # bits of a digit of a uniform integer


class ExhaustedError(Exception):
    """The stack has too few bits to pop from."""


class Stack:
    """Symbols are arrays; every method codes all elements of one, in order."""

    def __init__(self, words: np.ndarray):
        """`words` (n,) uint32 are its bits, the last on top."""
        stream = require("constriction", "compression").stream
        self._coder: Any = stream.stack.AnsCoder(np.ascontiguousarray(words))
        self._normal: Any = stream.model.QuantizedGaussian(-NEAR, NEAR)
        self._uniform: Any = stream.model.Uniform()
        self._choice: Any = stream.model.Categorical(perfect=False)

    @property
    def words(self) -> np.ndarray:
        """Its bits, (n,) uint32."""
        return self._coder.get_compressed()

    @property
    def bits(self) -> int:
        return self._coder.num_bits()

    def push_normal(self, n: Integers, mean: Reals, deviation: Reals) -> None:
        """Push integers with rounded normal distributions. Raises ValueError where one is 250 deviations off."""
        centre, digits, (middle, width) = _coarse(mean, deviation)
        offset = n - centre
        symbol = offset >> digits
        beyond = np.abs(symbol) - NEAR
        if np.any(beyond >= 1 << FAR):
            raise ValueError("an element is more than 250 standard deviations from its mean, and cannot be coded.")
        self._push_digits(offset & ((1 << digits) - 1), digits)
        self._push_digits(beyond, FAR * (beyond >= 0))
        self._coder.encode_reverse(symbol.clip(-NEAR, NEAR).astype(np.int32), self._normal, middle, width)

    def pop_normal(self, mean: Reals, deviation: Reals) -> Integers:
        centre, digits, (middle, width) = _coarse(mean, deviation)
        symbol = self._decoded(self._normal, middle, width)
        symbol += np.sign(symbol) * self._pop_digits(FAR * (np.abs(symbol) == NEAR))
        return centre + (symbol << digits) + self._pop_digits(digits)

    def push_uniform(self, n: Integers, counts: Integers) -> None:
        """Push integers 0 … count − 1, all equally probable but for a part of 2^−19 that has probability 0."""
        digits, top = _leading(counts)
        self._push_digits(n & ((1 << digits) - 1), digits)
        self._coder.encode_reverse((n >> digits).astype(np.int32), self._uniform, top)

    def pop_uniform(self, counts: Integers) -> Integers:
        digits, top = _leading(counts)
        return (self._decoded(self._uniform, top) << digits) + self._pop_digits(digits)

    def push_choice(self, n: Integers, table: Reals) -> None:
        """Push integers 0 … levels − 1 with the probabilities (elements, levels) of a table."""
        self._coder.encode_reverse(n.astype(np.int32), self._choice, table)

    def pop_choice(self, table: Reals) -> Integers:
        """The next integers; of those that were pushed, since the stack may become empty."""
        return self._coder.decode(self._choice, table).astype(np.int64)

    def _push_digits(self, n: Integers, digits: Integers) -> None:
        for start in range(0, int(digits.max(initial=0)), DIGIT):
            some = digits > start
            size = 1 << np.minimum(digits[some] - start, DIGIT)
            part = (n[some] >> start) & (size - 1)
            self._coder.encode_reverse(part.astype(np.int32), self._uniform, size.astype(np.int32))

    def _pop_digits(self, digits: Integers) -> Integers:
        n = np.zeros_like(digits)
        for start in reversed(range(0, int(digits.max(initial=0)), DIGIT)):
            some = digits > start
            size = 1 << np.minimum(digits[some] - start, DIGIT)
            n[some] |= self._decoded(self._uniform, size.astype(np.int32)) << start
        return n

    def _decoded(self, model: Any, *params: np.ndarray) -> Integers:
        found = self._coder.decode(model, *params).astype(np.int64)
        if self.bits < 64:
            raise ExhaustedError
        return found


def _coarse(mean: Reals, deviation: Reals) -> tuple[Integers, Integers, tuple[Reals, Reals]]:
    """Rounded means; how many low bits are uniform; mean and deviation of the high ones."""
    centre = np.rint(mean).astype(np.int64)
    digits = np.maximum(np.floor(np.log2(deviation)).astype(np.int64) - FINEST, 0)
    size = (1 << digits).astype(np.float64)
    return centre, digits, ((mean - centre - (size - 1) / 2) / size, deviation / size)


def _leading(counts: Integers) -> tuple[Integers, np.ndarray]:
    """Counts as multiples of 2^digits, below 2^20."""
    digits = np.maximum(np.floor(np.log2(counts)).astype(np.int64) - DIGIT + 1, 0)
    return digits, (counts >> digits).astype(np.int32)
