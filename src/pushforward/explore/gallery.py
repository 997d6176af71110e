"""Images to pick from: held-out ones, samples and uploads."""

import base64
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pushforward.codecs import CodedFlow, placed
from pushforward.data import Arrays, Images
from pushforward.evaluation.pictures import pixels
from pushforward.explore.latest import Latest
from pushforward.explore.worker import Parts, in_parts
from pushforward.randomness import Keyed
from pushforward.sampling import Sampling, samples

MOST = 64  # images in an answer
UPLOADS, SAMPLES = 32, 4 * MOST  # that are kept


class Gallery:
    """The images of a run. One is named "data:7", held out; "sample:7", drawn as `Sampling` says; or "upload:3".

    A sample is rounded to integers before it is looked at, as the data are. Where the run learned captions, held-out
    images have theirs, and samples are of a prompt, of which `text` makes tokens.
    """

    def __init__(
        self,
        coded: CodedFlow,
        held_out: Images | Arrays | None,
        captions: Sequence[str] = (),
        text: Callable[[Sequence[str]], Tensor] | None = None,
    ):
        self.coded, self.held_out, self.captions, self.text = coded, held_out, captions, text
        self.uploads = Latest[str, Tensor](UPLOADS)
        self.samples = Latest[tuple[Sampling, int], tuple[Tensor, int | None]](SAMPLES)
        self.numbers = itertools.count()

    def keep(self, integers: Tensor) -> str:
        """Keep an upload, (1, C, H, W); its name."""
        name = f"upload:{next(self.numbers)}"
        self.uploads[name] = integers
        return name

    def data(self, start: int, n: int) -> list[dict[str, Any]]:
        """Held-out images from `start` on."""
        if self.held_out is None:
            return []
        rows = range(start, min(start + n, len(self.held_out)))
        integers, labels = self.held_out.fetch(rows)
        captions = self.captions[rows.start : rows.stop] or [""] * len(rows)
        return self._listed("data", rows, integers, labels, captions)

    def drawn(self, sampling: Sampling, n: int) -> Parts:
        """The first n samples."""

        def drawn(rows: range) -> list[dict[str, Any]]:
            integers, labels = self._draw(sampling, rows)
            return self._listed("sample", rows, integers, labels, ["".join(sampling.prompt)] * len(rows))

        return [*itertools.chain(*(yield from in_parts(n, drawn)))]

    def named(self, name: str, sampling: Sampling) -> tuple[Tensor, int | None]:
        """The integers of an image, (1, C, H, W), and its label. Raises ValueError where there is none."""
        kind, _, number = name.partition(":")
        if kind == "upload" and name in self.uploads:
            return self.uploads[name], None
        if kind in ("data", "sample") and number.isdecimal() and len(number) < 9:
            i = int(number)
            if kind == "data" and self.held_out is not None and i < len(self.held_out):
                integers, labels = self.held_out.fetch([i])
                return integers, None if labels is None else int(labels[0])
            if kind == "sample" and i < MOST:
                if (sampling, i) not in self.samples:
                    self._draw(sampling, range(i, i + 1))
                return self.samples[sampling, i]
        raise ValueError(f'there is no image "{name[:40]}".')

    def caption(self, name: str, sampling: Sampling) -> str:
        """The caption of an image, or the prompt that it was drawn of; "" of an upload."""
        kind, _, number = name.partition(":")
        if kind == "data":
            return self.captions[int(number)]
        return "".join(sampling.prompt) if kind == "sample" else ""

    def encoded(self, name: str, sampling: Sampling) -> Tensor:
        """An image as the flow takes it, (1, C, H, W)."""
        return self.coded.codec.encode(self.named(name, sampling)[0], Keyed(0, rows=[0]))[0]

    def png(self, integers: Tensor) -> str:
        """An image (C, H, W) of integers as a data URL."""
        return png(placed(integers.float(), self.coded.codec.levels))

    def _draw(self, sampling: Sampling, rows: range) -> tuple[Tensor, Tensor | None]:
        """Draw these samples, and keep them. Returns their integers and labels."""
        text = None if self.text is None else self.text(sampling.prompt * rows.stop)
        some = next(samples(self.coded, sampling, text, start=rows.start, stop=rows.stop))
        integers, labels = some.data, [None] * len(rows) if some.labels is None else some.labels.tolist()
        for row, image, label in zip(rows, integers, labels, strict=True):
            self.samples[sampling, row] = image[None], None if label == -1 else label
        return integers, some.labels

    def _listed(
        self, kind: str, numbers: range, integers: Tensor, labels: Tensor | None, captions: Sequence[str]
    ) -> list[dict[str, Any]]:
        given = [None] * len(numbers) if labels is None else labels.tolist()
        return [
            {"name": f"{kind}:{number}", "image": self.png(image), "label": label, "caption": caption}
            for number, image, label, caption in zip(numbers, integers, given, captions, strict=True)
        ]


def png(x: Tensor) -> str:
    """An image (C, H, W) on [−1, 1] as a data URL."""
    written = io.BytesIO()
    pixels((x + 1) / 2).save(written, "PNG")
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
