"""Where images are and which split: one file per kind of dataset.

Importing this package imports every module of the folder whose name does not start with "_", so a new file that
registers its datasets with `dassl.data.datasets.DATASET_REGISTRY` needs no entry anywhere else.
"""
import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")
