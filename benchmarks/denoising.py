"""Every way of taking the noise out, on digits in the latents of a small frozen autoencoder: a table.

    python benchmarks/denoising.py --steps 500

An autoencoder with latents of 4 × 4 × 4 of deviation one is trained on the digits, and frozen. Two flows of one size
learn its latents with noise: a TarFlow at one level, with a learned denoiser and a tuned decoder beside it, and an
iTARFlow at all levels. PSNR is of the 360 held-out images, through the autoencoder with noise and back. Fréchet
distances are of pixels, to the held-out images: of these same images, and of 1,000 samples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pushforward import recipes
from pushforward.codecs import CodedFlow, DenoiserKind, FrozenAutoencoder, placed
from pushforward.data import Data
from pushforward.evaluation import frechet_distance
from pushforward.models import ITARFlow, TarFlow
from pushforward.objectives import NoiseLevels, ObjectiveConfig, WithDenoiser
from pushforward.sampling import Sampling, samples
from pushforward.training import Plan, minimise

SIGMA, LATENT, SAMPLES = 0.5, (4, 4, 4), 1000
LEVELS = 17  # of grey


def autoencoder(images: Tensor, *, sigma: float = SIGMA, tuned: bool = True) -> FrozenAutoencoder:
    """One that was trained on these images; a batch norm gives latents their unit."""
    channels = LATENT[0]
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, channels, 2, stride=2),
        nn.BatchNorm2d(channels, affine=False),
    )
    decoder = nn.Sequential(
        nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(64, 32, 2, stride=2), nn.ReLU(),
        nn.Conv2d(32, 1, 3, padding=1),
    )  # fmt: skip
    optimiser = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    for _ in range(600):
        x = images[torch.randint(len(images), (128,))] / (LEVELS - 1)
        optimiser.zero_grad()
        (decoder(encoder(x)) - x).square().mean().backward()
        optimiser.step()
    return FrozenAutoencoder(encoder.eval(), decoder, levels=LEVELS, sigma=sigma, tuned=tuned)


def trained(
    model: TarFlow | ITARFlow, config: ObjectiveConfig, codec: FrozenAutoencoder, data: Data, steps: int
) -> CodedFlow:
    torch.manual_seed(0)
    objective = config.build(model.build(), codec)
    plan = Plan(steps=steps, lr=5e-3, warmup=20, weight_decay=0.1, average_decay=0.99, precision="float32")
    codec.encoder.eval()
    return CodedFlow(minimise(objective, data, plan, progress=False).eval(), codec)


def rows(coded: CodedFlow, kinds: tuple[DenoiserKind, ...], images: Tensor, labels: Tensor) -> Iterator[str]:
    real = placed(images, LEVELS)
    noisy = coded.codec.encode(images, torch.Generator().manual_seed(0))[0]
    for kind in kinds:
        by, started = coded.denoised_by(kind), time.process_time()
        freed = placed(by.codec.decode(by.denoise(noisy, labels)), LEVELS)
        seconds = time.process_time() - started
        drawn = [some.data for some in samples(coded, Sampling(denoise=kind, guidance=1), stop=SAMPLES)]
        psnr = 10 * torch.log10(4 / (freed - real).square().mean())
        far = [frechet_distance(real.flatten(1), x.flatten(1)) for x in (freed, placed(torch.cat(drawn), LEVELS))]
        yield f"| {kind} | {psnr:.2f} dB | {far[0]:.2f} | {far[1]:.2f} | {1000 * seconds / len(images):.2f} ms |"


def main(steps: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe = recipes.digits()  # pyright: ignore[reportAttributeAccessIssue]
    data, held_out = recipe.training_data(), recipe.held_out_data()
    codec = autoencoder(data.fetch(range(len(data)))[0])
    images, labels = held_out.fetch(range(len(held_out)))
    own = placed(codec.decode(codec.clean(images)), LEVELS)
    print(f"the autoencoder alone: {10 * torch.log10(4 / (own - placed(images, LEVELS)).square().mean()):.2f} dB")
    print("| denoiser | PSNR, held out | Fréchet distance, held out | Fréchet distance, samples | time an image |")
    print("|---" * 5 + "|")
    size = {"image": LATENT, "patch": 1, "width": 64, "classes": 10}
    one = trained(TarFlow(**size, transforms=4, depth=2), WithDenoiser(condition_dropout=0.1), codec, data, steps)
    for row in rows(one, ("none", "score", "learned", "decoder"), images, labels):
        print(row, flush=True)
    model = ITARFlow(**size, depths=(2, 2, 2, 2), noise=(0.02, SIGMA))
    every = trained(model, NoiseLevels(condition_dropout=0.1), codec, data, steps)
    for row in rows(every, ("none", "score", "iterative", "decoder"), images, labels):
        print(row.replace("| ", "| iTARFlow, ", 1), flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=500)
    main(**vars(arguments.parse_args()))
