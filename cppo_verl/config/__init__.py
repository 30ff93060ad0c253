"""From a command line to a config: the YAML files, where recipes are found, and what they are composed by.

| here | what |
| --- | --- |
| `cppo_trainer.yaml` | verl's whole config, CPPO's options, and the settings that make verl's GRPO the paper's |
| `device/`, `mode/` | what `device=` and `mode=` choose |
| `sources.py` | where configs are: this folder, verl's, and the shipped recipes |
| `compose.py` | Hydra from a command line, or from a list of overrides |
| `cluster.py` | whether a run starts its own Ray |
| `hints.py` | why a command line is refused: the option or choice that was meant |
| `help.py` | what `--help` shows of a config |
| `cluster.py` | whether a run joins a cluster |
"""
