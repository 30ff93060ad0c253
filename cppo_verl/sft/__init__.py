"""Supervised fine-tuning on worked solutions, by verl's own SFT trainer: `cppo-verl sft`.

| file | what |
| --- | --- |
| `command.py` | the entry point: checks, the ranks' start, the model at the end |
| `checks.py` | what is wrong with a config, found before the ranks start |
| `rank.py` | what each rank does: verl's trainer, on GPUs or on the CPU |
| `model.py` | the model that training goes on from: it stops where the chat template ends a turn |
"""
