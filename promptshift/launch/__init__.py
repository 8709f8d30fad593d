"""How the jobs of a plan are run: `jobs` is one run and the state of its folder, `local` runs them as processes."""
