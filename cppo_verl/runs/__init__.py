"""What a run's folder holds: its config, metrics, checkpoints and the best of them, and how a run ends."""
