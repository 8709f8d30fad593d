"""Dassl's public API (Dassl.pytorch 0.6.3) implemented for current PyTorch.

Trainer and dataset files written for upstream Dassl import the same names from the same module paths.
"""

from .talk import show

__version__ = "0.6.3"

show(__name__)
