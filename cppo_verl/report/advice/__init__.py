"""Whether to prune, from the log of a run that does not: `cppo-verl advise`."""
