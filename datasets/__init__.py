"""Where images are and which split: one file per kind of dataset.

Importing this package imports every module of the folder whose name does not start with "_", so a new file that
registers its datasets with `dassl.data.datasets.DATASET_REGISTRY` needs no entry anywhere else.
"""
from promptshift.discovery import import_modules

import_modules(__name__)
