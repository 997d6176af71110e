"""Deep-shallow steps beside equal ones, and latents beside pixels, on digits: a table and a picture.

    OMP_NUM_THREADS=1 python benchmarks/deep_shallow.py docs/deep_shallow.png --steps 1000

STARFlows of eight layers of width 64, in three layouts of four steps, on pixels with noise of σ = 0.1, and on the
latents of a small frozen autoencoder with noise of σ = 0.3. The last step is next to the prior and reads the class.
Nats a dimension are of the held-out digits with their noise. Fréchet distances are of pixels: of 1,000 samples,
guided by 1 and denoised by the score, to all 1,797 digits.
"""

from __future__ import annotations

import argparse
import time

import torch
from denoising import LEVELS, autoencoder

from pushforward import recipes
from pushforward.codecs import Codec, CodedFlow, GaussianNoise, placed
from pushforward.evaluation import frechet_distance, grid, save_picture, table
from pushforward.models import STARFlow
from pushforward.sampling import Sampling, samples
from pushforward.training import MaximumLikelihood, Plan, minimise

LAYOUTS = ((2, 2, 2, 2), (1, 1, 1, 5), (5, 1, 1, 1))  # layers of the steps, from the data to the prior
SAMPLES, SHOWN = 1000, 20


def main(out: str, steps: int) -> None:
    torch.manual_seed(0)
    recipe = recipes.digits()  # pyright: ignore[reportAttributeAccessIssue]
    data, held_out = recipe.training_data(), recipe.held_out_data()
    images, (others, labels) = data.fetch(range(len(data)))[0], held_out.fetch(range(len(held_out)))
    every = placed(torch.cat([images, others]), LEVELS).flatten(1)
    spaces: dict[str, tuple[Codec, dict[str, object]]] = {
        "pixels": (GaussianNoise(LEVELS, 0.1), {"image": (1, 8, 8), "patch": 2}),
        "latents": (autoencoder(images, sigma=0.3, tuned=False), {"image": (4, 4, 4), "patch": 1}),
    }
    plan = Plan(steps=steps, lr=5e-3, warmup=20, weight_decay=0.1, average_decay=0.99, precision="float32")
    cells: dict[str, dict[str, tuple[torch.Tensor, str]]] = {str(layout): {} for layout in LAYOUTS}
    print("| data | layers | parameters | nats/dim, held out | Fréchet distance | training, s | sampling, s |")
    print("|---" * 7 + "|")
    for space, (codec, size) in spaces.items():
        for layout in LAYOUTS:
            torch.manual_seed(0)
            flow = STARFlow(**size, width=64, depths=layout, classes=10).build()  # pyright: ignore[reportArgumentType]
            objective = MaximumLikelihood(condition_dropout=0.1).build(flow, codec)
            began = time.process_time()
            coded = CodedFlow(minimise(objective, data, plan, progress=False).eval(), codec)
            learned = time.process_time()
            drawn = list(samples(coded, Sampling(denoise="score", guidance=1), stop=SAMPLES))
            drew = time.process_time()
            x = placed(torch.cat([some.data for some in drawn]), LEVELS)
            events = codec.encode(others, torch.Generator().manual_seed(0))[0]
            with torch.no_grad():
                costs = -coded.flow.log_prob(events, labels) / events[0].numel()
            far = frechet_distance(every, x.flatten(1))
            cells[str(layout)][space] = grid(x[:SHOWN], SHOWN // 2), f"Frechet distance {far:.2f}"
            count = sum(p.numel() for p in flow.parameters())
            print(
                f"| {space} | {layout} | {count:,} | {costs.mean():.3f} ± {costs.std() / len(costs) ** 0.5:.3f} "
                f"| {far:.2f} | {learned - began:.0f} | {drew - learned:.1f} |",
                flush=True,
            )
    save_picture(table(cells, zoom=4), out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=1000)
    main(**vars(parser.parse_args()))
