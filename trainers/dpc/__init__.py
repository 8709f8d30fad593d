"""DPC (arXiv 2503.13443): the trainer, and the dual prompt, the negative sampler and the routing that it alone has."""

from trainers.dpc.trainer import DPC

__all__ = ["DPC"]
