"""Ratios of this code against the plain formulation of the released codes, measured in one run."""
