"""CPPO in verl's trainers: the only room that touches `DataProto`, Ray or a worker group.

`v0/` and `v1/` are the two generations of verl's trainers; what stands beside them serves both.
"""
