"""Bytes: of a model's parts, of a checkpoint, and which settings fit on which devices."""
