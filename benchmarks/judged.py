"""Texts of runs on Shakespeare, and held-out ones, judged by SmolLM2: generative perplexity.

    PUSHFORWARD_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/judged.py RUN …

Twenty texts of 400 characters each. Needs the extra "lm".
"""

from __future__ import annotations

import re
import sys

import torch

import pushforward as pf
from pushforward.data import LanguageTokenizer, TextSource
from pushforward.evaluation import generative_perplexity
from pushforward.networks import FrozenLanguageModel
from pushforward.recipes import shakespeare_characters
from pushforward.sampling import Sampling

TEXTS, LENGTH = 20, 400


def main(runs: list[str]) -> None:
    torch.set_num_threads(1)
    judge, tokenizer, source = FrozenLanguageModel.pretrained(), LanguageTokenizer(), shakespeare_characters().data
    assert isinstance(source, TextSource)
    (text,) = source.texts()[1]
    starts = range(0, len(text) - LENGTH, len(text) // TEXTS)
    print("held out:", generative_perplexity([text[i : i + LENGTH] for i in starts], judge, tokenizer))
    for run in runs:
        for temperature in (1.0, 0.8):
            told = pf.runs.sample(run, n=TEXTS, sampling=Sampling(length=LENGTH, temperature=temperature), device="cpu")
            drawn = [text[:LENGTH] for text in re.split(r"--- \d+\n", told)[1:]]
            print(f"{run}, temperature {temperature}:", generative_perplexity(drawn, judge, tokenizer))


if __name__ == "__main__":
    main(sys.argv[1:])
