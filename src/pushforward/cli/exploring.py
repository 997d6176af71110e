"""The command `pushforward explore`."""

# no `from __future__ import annotations`: the parser needs annotations as objects, not strings

import tyro


def explore(runs: tyro.conf.Positional[tuple[str, ...]] = (), port: int = 8642, browser: bool = True) -> None:
    """See flows at work, in the browser: `pushforward explore`, `pushforward explore runs/digits --port 8000`.

    A flow of two features is a plane, whose point is dragged in data and latents at once; a flow of images a gallery,
    each image encoded and decoded. Only this machine can reach the page.

    Args:
        runs: Run folders; by default the flows that come with the package.
        port: Of the page; 0 for a free one.
        browser: Open the page in the browser.
    """
    from pushforward.explore import serve

    serve(runs, port, browser)
