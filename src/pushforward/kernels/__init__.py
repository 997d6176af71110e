"""Compiled kernels for CPUs: C++ that computes what tensor operations compute, sooner.

Each module has one kernel, built on first use (`build.py`), and two doors to it: `serves(…)`, whether the kernel may
compute this (`serving.py`), and a function of plain tensors, or a decoder that remembers what it was fed. Answers agree
with those of tensor operations to rounding. Nothing here knows networks, moves or flows.
"""
