"""CPPO on verl's `RayPPOTrainer`: the only room that touches `DataProto`, Ray or a worker group."""
