"""Runs name their configuration files from the root of the checkout."""

import pytest


@pytest.fixture(autouse=True)
def started_in_the_checkout(checkout_and_output):
    """Every test of this folder starts there, with an OUTPUT of its own."""
