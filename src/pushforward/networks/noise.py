"""A transformer that predicts the noise in an image or a video from all of its tokens.

Gu et al. 2025 (STARFlow-V), arXiv:2511.20462, section 3.3.
"""

import torch
from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.networks.layers import GroupedLayer, LayerOptions, RMSNorm
from pushforward.networks.positions import ScaledRotary
from pushforward.networks.prefix import Prefix
from pushforward.plain import computes_in
from pushforward.shapes import Events, patchify, unpatchify


class NoiseTransformer(nn.Module):
    """(B, C, H, W) -> the same, or of videos (B, frame, C, H, W) -> the same: the noise, in units of its deviation.

    Tokens are patches: `patches` are their channels and their side. Every token attends to all; in a video with a
    `window` (before, after) those of frame q attend to frames q − before … q + after in each layer, so that n layers
    look n · after frames ahead. `prefix` is a context encoder, whose tokens come first and are seen by all; without one
    the context is ignored. `positions` are laid on the grid of what is read: any height and width that patches tile
    will do. With `frames=None` they tell the frames of a video of any length. At the start the output is zero.

    >>> net = NoiseTransformer((3, 2), positions=ScaledRotary((4, 4)), width=64, depth=2)
    >>> net(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        patches: tuple[int, int],
        *,
        positions: ScaledRotary,
        width: int,
        depth: int,
        options: LayerOptions | None = None,
        prefix: Prefix | None = None,
        window: tuple[int, int] | None = None,
    ):
        super().__init__()
        options = options or LayerOptions()
        channels, self.patch = patches
        self.head, self.window = width // options.heads(width), window
        positions.rotation(0, 1, self.head, torch.device("cpu"))  # raises if it cannot rotate heads
        self.positions, self.prefix = positions, prefix
        self.read = nn.Linear(channels * self.patch**2, width)
        self.layers = nn.ModuleList(GroupedLayer(width, options, causal=False) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.answer = zeroed(nn.Linear(width, channels * self.patch**2))

    def forward(self, x: Events, context: Context | None = None) -> Events:
        video = x if x.dim() == 5 else x[:, None]
        patches, frames = patchify(video.flatten(0, 1), self.patch), video.shape[1]
        grid = patches.shape[1:3]
        h = self.read(patches.unflatten(0, video.shape[:2]).flatten(1, 3).to(computes_in(self.read)))
        if self.prefix is not None:
            h = torch.cat([self.prefix(context).expand(len(h), -1, -1), h], 1)
        before = h.shape[1] - frames * grid[0] * grid[1]
        positions = self.positions.on((grid[0], grid[1]), self.positions.frames)
        rotation = positions.rotation(-before, h.shape[1] - before, self.head, h.device)
        mask = self._mask(before, frames, grid[0] * grid[1], h.device)
        for layer in self.layers:
            h = layer(h, None, rotation, None, mask)
        h = self.answer(self.norm(h[:, before:])).unflatten(1, (frames, *grid)).flatten(0, 1)
        return unpatchify(h, self.patch).reshape(x.shape)

    def _mask(self, before: int, frames: int, tokens: int, device: torch.device) -> Tensor | None:
        """Which keys a query attends to, (T, T) of bool; None for all. The prefix is read as if in the first frame."""
        if self.window is None or frames == 1:
            return None
        frame = torch.arange(frames, device=device).repeat_interleave(tokens)
        frame = torch.cat([frame.new_zeros(before), frame])
        ahead = frame - frame[:, None]
        prefix = torch.arange(len(frame), device=device) < before
        return prefix | (ahead >= -self.window[0]) & (ahead <= self.window[1])
