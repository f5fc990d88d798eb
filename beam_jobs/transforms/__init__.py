"""The transforms of the jobs, importable by name on every worker."""
