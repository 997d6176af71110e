"""`python -m pushforward`, and `torchrun -m pushforward`."""

from pushforward.cli import main

main()
