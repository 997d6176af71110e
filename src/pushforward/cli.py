"""The command line: `pushforward COMMAND`."""

from __future__ import annotations

from pathlib import Path


def demo(out: Path = Path("runs/demo"), effort: float = 1.0) -> None:
    """Train a TarFlow on handwritten digits and show what it can do, in a few minutes on two CPU cores.

    Writes demo.png: digits from the data, and samples raw, denoised, and guided by class. Prints bits/dim and more.

    Args:
        out: The folder to write into.
        effort: What to multiply the number of training steps by: 0.1 for a quick look.
    """
    import pushforward.demo

    pushforward.demo.demo(out, effort)


def main() -> None:
    import sys

    import tyro

    import pushforward

    if sys.argv[1:] == ["--version"]:
        print(pushforward.__version__)
        return
    tyro.extras.subcommand_cli_from_dict({"demo": demo}, prog="pushforward", description="Normalizing flows.")
