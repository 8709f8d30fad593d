"""Where images are and which split: one file per kind of dataset.

`load_plugins` imports every module of the folder whose name does not start with "_", so a new file that registers its
datasets with `dassl.data.datasets.DATASET_REGISTRY` needs no entry anywhere else.
"""
