"""Datasets, samplers, transforms and the manager that joins them."""

from ..utils.on_demand import on_demand

__getattr__ = on_demand(
    __name__,
    {"class_names": ("ClassNames",), "data_manager": ("DataManager", "DatasetWrapper", "build_data_loader")},
)

__all__ = ["ClassNames", "DataManager", "DatasetWrapper", "build_data_loader"]
