"""What a run's folder holds (config, metrics, checkpoints and the best of them), how a run ends, and starts again."""
