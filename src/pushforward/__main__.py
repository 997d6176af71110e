"""`python -m pushforward`, and `torchrun -m pushforward`."""

from pushforward.cli.main import main

main()
