"""Accuracy of a model on the benchmarks: generation through vLLM, scoring, statistics, results."""
