"""Checks and benchmarks on a GPU: `make gpu`, or python -m benchmarks.gpu [--part NAME …] [--seconds N]."""
