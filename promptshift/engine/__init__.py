"""The bases that trainers extend, and how a configuration becomes a run."""
