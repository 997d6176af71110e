"""Recipes: functions that return a `Recipe`.

Each docstring states the command, the hardware, the time and the result to expect. `recipe.small()` is the same in
miniature, for tests. A new recipe is a function here, listed in `RECIPES`. `table` makes the recipe for a table of
your own.
"""

from collections.abc import Callable

from pushforward.recipe import Recipe
from pushforward.recipes.classics import (
    cifar10_flowpp,
    cifar10_glow,
    cifar10_realnvp,
    cifar10_small_glow,
    emoji_glow,
    imagenet64_jet,
    mnist_flowpp,
    mnist_glow,
    mnist_jet,
    mnist_realnvp,
)
from pushforward.recipes.documents import emoji2, sprites2
from pushforward.recipes.language import brown_words, openwebtext, shakespeare_characters, text8
from pushforward.recipes.latent import digits_autoencoder, emoji, imagenet256_by_class, text_to_image
from pushforward.recipes.matching import cifar10_matching, digits_matching, fashion_mnist_matching, mnist_matching
from pushforward.recipes.published import (
    afhq256,
    imagenet64_bits,
    imagenet64_by_class,
    imagenet64_unconditional,
    imagenet128_by_class,
)
from pushforward.recipes.small_scale import (
    cifar10,
    digits,
    digits_denoiser,
    digits_itarflow,
    fashion_mnist,
    letters,
    mnist,
)
from pushforward.recipes.tables import table
from pushforward.recipes.video import sprites, text_to_video, vtest

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        digits,
        digits_denoiser,
        digits_itarflow,
        digits_autoencoder,
        mnist,
        fashion_mnist,
        letters,
        cifar10,
        mnist_realnvp,
        mnist_glow,
        mnist_flowpp,
        mnist_jet,
        cifar10_small_glow,
        cifar10_realnvp,
        cifar10_glow,
        cifar10_flowpp,
        emoji_glow,
        imagenet64_jet,
        digits_matching,
        mnist_matching,
        fashion_mnist_matching,
        cifar10_matching,
        emoji,
        emoji2,
        shakespeare_characters,
        brown_words,
        text8,
        openwebtext,
        sprites,
        sprites2,
        vtest,
        imagenet64_bits,
        imagenet64_unconditional,
        imagenet64_by_class,
        imagenet128_by_class,
        afhq256,
        imagenet256_by_class,
        text_to_image,
        text_to_video,
    )
}

__all__ = ["RECIPES", "table", *RECIPES]  # pyright: ignore[reportUnsupportedDunderAll]
