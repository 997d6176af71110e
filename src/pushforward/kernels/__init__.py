"""Compiled kernels for CPUs: C++ that computes the same as tensor operations, faster.

Each module has one kernel, which is built on first use (`build.py`). It offers `serves(…)`, whether the kernel may
compute a case (`serving.py`), and a function of plain tensors, or a decoder. Results agree with those of tensor
operations to rounding. Nothing here knows networks, moves or flows.
"""
