"""Datasets, samplers, transforms and the manager that joins them."""

from .class_names import ClassNames
from .data_manager import DataManager, DatasetWrapper, build_data_loader

__all__ = ["ClassNames", "DataManager", "DatasetWrapper", "build_data_loader"]
