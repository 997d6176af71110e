"""Recipes for text."""

from pushforward.codecs import TokenCodebook
from pushforward.data import BPE, Characters, Letters, TextSource
from pushforward.models import Mix1Options, MixDOptions, TarFlowLM
from pushforward.recipe import Recipe
from pushforward.training import Plan

SHAKESPEARE = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def shakespeare_characters() -> Recipe:
    """Shakespeare by characters: Mix-d over 65 characters, then a step of Mix-1.

    PUSHFORWARD_DATA=DIR pushforward train shakespeare_characters --out runs/shakespeare
    Six and a half minutes of one CPU core. DIR holds tinyshakespeare.txt.
    Expect 2.62 bits/char, held out, where the autoregressive model of as many layers has 2.48; it is still falling.
    """
    return Recipe(
        data=TextSource("tinyshakespeare", Characters(SHAKESPEARE)),
        model=TarFlowLM(
            tokens=128, features=5, width=128, depths=(3, 1), first=MixDOptions(65), move=Mix1Options(4, (32,))
        ),
        codec=TokenCodebook(vocabulary=65, features=5, unit="bits/char"),
        train=Plan(
            steps=1000,
            batch=16,
            lr=2e-3,
            average_decay=0,
            precision="float32",
            checkpoint_every=100,
        ),
    )


def brown_words() -> Recipe:
    """The Brown corpus in 1,024 tokens of a byte-pair encoding that is learned from it: Mix-d, then a step of Mix-1.

    PUSHFORWARD_DATA=DIR pushforward train brown_words --out runs/brown
    Needs the extra "text". Twelve minutes of one CPU core, most of them for Mix-d's distribution functions.
    Expect 4.35 nats/token, held out, where the autoregressive model of as many layers has 3.93.
    """
    return Recipe(
        data=TextSource("brown", BPE(1024)),
        model=TarFlowLM(
            tokens=64, features=5, width=128, depths=(3, 1), first=MixDOptions(1024), move=Mix1Options(4, (32,))
        ),
        codec=TokenCodebook(vocabulary=1024, features=5, sigma=0.1),
        train=Plan(steps=2000, batch=8, lr=2e-3, average_decay=0, precision="float32", checkpoint_every=100),
    )


def text8() -> Recipe:
    """text8, 27 characters, in the published sizes: Mix-d, then two steps of Mix-1 with two components.

    PUSHFORWARD_DATA=DIR pushforward train text8 --out runs/text8
    For GPUs: 12 layers of 768. DIR holds text8.txt. The plan of training is ours, since none was published.
    Expect no result yet: it has not been run. The paper has 1.30 bits/char, and 1.23 for the autoregressive model.
    """
    return Recipe(
        data=TextSource("text8", Letters(), validation=0.05),
        model=TarFlowLM(features=5, first=MixDOptions(27), move=Mix1Options(2)),
        codec=TokenCodebook(vocabulary=27, features=5, unit="bits/char"),
        train=Plan(steps=500_000, batch=128, lr=4e-4, warmup=2000, average_decay=0, checkpoint_every=1000),
    )


def openwebtext() -> Recipe:
    """OpenWebText by GPT-2's tokens, in the published sizes: three steps of Mix-1 with 64 components.

    pushforward train openwebtext --out runs/openwebtext --data.tokenizer.file tokenizer.json
    For GPUs: 12 layers of 768. The plan of training is ours, since none was published. Mix-d over 50,257 tokens reaches
    a lower perplexity there, but its distribution functions take 50,257 · 16 numbers for each token.
    Expect no result yet: it has not been run. The paper has a perplexity of 27.1; 17.5 for the autoregressive model.
    """
    return Recipe(
        data=TextSource("hf:Skylion007/openwebtext", BPE(50257, file="tokenizer.json"), validation=0.005),
        model=TarFlowLM(features=16, move=Mix1Options(64)),
        codec=TokenCodebook(vocabulary=50257, features=16),
        train=Plan(steps=500_000, batch=128, lr=4e-4, warmup=2000, average_decay=0, checkpoint_every=1000),
    )
