"""CPPO in verl's trainers: the step, and what touches `DataProto`, Ray and worker groups.

`v0/` and `v1/` are the two generations of verl's trainers; what stands beside them serves both.
"""
