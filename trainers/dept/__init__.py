"""DePT (arXiv 2309.07439): the trainer, and the second head that it alone has."""

from trainers.dept.trainer import DePT

__all__ = ["DePT"]
