"""Arms, the matrix of runs that they make with the seeds, and the quick start, which is a study of two arms."""
