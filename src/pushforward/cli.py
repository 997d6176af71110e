"""The command line: `pushforward COMMAND`."""

from __future__ import annotations

from pathlib import Path


def demo(out: Path = Path("runs/demo")) -> None:
    """Train a TarFlow on handwritten digits and show what it can do, in a few minutes on two CPU cores.

    Writes demo.png: digits from the data, and samples raw, denoised, and guided by class.

    Args:
        out: The folder to write into.
    """
    from pushforward.demo import demo

    demo(out)


def main() -> None:
    import sys

    import tyro

    from pushforward import __version__

    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return
    tyro.extras.subcommand_cli_from_dict({"demo": demo}, prog="pushforward", description="Normalizing flows.")
