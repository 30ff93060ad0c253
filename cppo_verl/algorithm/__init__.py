"""The paper: options, the integers of a step, selection, allocation, metrics. Imports nothing else of this project."""
