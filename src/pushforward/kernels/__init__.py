"""Compiled kernels for CPUs: C++ that computes the same as tensor operations, faster.

Each module has one kernel, which is built on first use (`build.py`), as a function of plain tensors or a decoder.
`serving.py` says when a kernel may compute in place of tensor operations, with which it agrees to rounding. Nothing
here knows networks, moves or flows.
"""
