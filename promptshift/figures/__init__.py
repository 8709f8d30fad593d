"""The earlier name of `promptshift.studies`, kept for `python -m promptshift.figures`."""
