"""Image transforms by configuration."""

from ...utils.on_demand import on_demand

__getattr__ = on_demand(__name__, {"transforms": ("AVAI_CHOICES", "INTERPOLATION_MODES", "build_transform")})

__all__ = ["AVAI_CHOICES", "INTERPOLATION_MODES", "build_transform"]
