"""The ways of weights from the trainer to the rollout engines: verl's, with names of a run's own, and one by file."""
