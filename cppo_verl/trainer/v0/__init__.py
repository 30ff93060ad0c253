"""CPPO on verl's V0 trainer (`trainer.use_v1=false`), and PPO with a critic, which only this one has."""
