"""From a command line to a configuration, to a run, to a stored configuration, to a reopened run."""
