"""Supervised fine-tuning on worked solutions, by verl's own SFT trainer: `cppo-verl sft`.

| file | what |
| --- | --- |
| `command.py` | the entry point: checks, the ranks' start, the model at the end |
| `checks.py` | what is wrong with a config, found before the ranks start |
| `going_on.py` | what a start goes on from, and what it leaves behind |
| `launcher.py` | the ranks: started by torchrun, waited for, ended with whoever waits |
| `orphans.py` | a process that ends with those that started it |
| `rank.py` | what each rank does: verl's trainer, on GPUs or on the CPU |
| `trainer.py` | what verl's trainer lacks: where a run goes on in the data, whole checkpoints, all planned steps |
| `model.py` | the model that training goes on from: it stops where the chat template ends a turn |
"""
