"""What a V1 step logs and dumps: all that was sampled, as in V0; verl's trainer describes what was trained on."""

from __future__ import annotations

import torch
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.debug import marked_timer

from cppo_verl.algorithm.metrics import Outcomes, clipping_by_place
from cppo_verl.preflight.plan import is_separate
from cppo_verl.trainer.rows import SENT, select_rows
from cppo_verl.trainer.sampling import sampling_metrics
from cppo_verl.trainer.stages import data_metrics, epoch_metrics, timing_metrics
from cppo_verl.trainer.v1.cycle import RunningStep
from cppo_verl.trainer.v1.idle import agent_loops, idle_metrics, sampling_spans
from cppo_verl.trainer.v1.rows import in_order


class StepMetrics(PPOTrainer):
    """A part of CPPO's V1 trainers: the metrics of a step, and the dump of its completions."""

    this_step: RunningStep
    outcomes: Outcomes

    @property
    def metrics(self) -> dict[str, float]:
        """Of the running step, where `RunFolder` looks for them."""
        return self.this_step.metrics

    def _sampled_metrics(self) -> dict[str, float]:
        """Of all that a step sampled, when it has trained."""
        whole = self.this_step.whole
        in_flight, unused = self.replay_buffer.outstanding()
        return {
            "training/global_step": self.global_steps,
            "training/epoch": self.train_dataloader.epoch,  # verl's is counted in steps, which may take more questions
            "cppo/planned_steps": self.total_training_steps,
            **epoch_metrics(self.plan, len(self.train_dataset), self.config),
            "cppo/last_step": int(self.global_steps >= self.total_training_steps),
            "cppo/replaced_questions": whole.replaced,
            "cppo/in_flight_questions": in_flight,
            "cppo/unused_questions": unused,
            **whole.counts,
            **clipping_by_place(self.this_step.clip_fractions),
            **sampling_metrics(whole.sampled, whole.allocation, rounds=1, outcomes=self.outcomes),
            **data_metrics(whole.sampled, whole.trained, self.metrics.get("actor/grad_norm")),
        }

    def _compute_metrics(self, batch: KVBatchMeta, metrics, timing_raw, global_steps, epoch) -> None:
        """verl's; the curves describe what was sampled, so that GRPO's and CPPO's can be compared."""
        step, seconds = self.this_step, timing_raw["step"]
        awake = [(step.began, step.began + seconds)] if is_separate(self.config) else step.waits
        metrics |= idle_metrics(step.waits, awake, sampling_spans(agent_loops(self.agent_loop_manager)), seconds)
        timing_raw["step"] -= timing_raw.get("save_checkpoint", 0)  # as in V0: a step is sampling and training
        ours = dict(metrics)  # of all that was sampled; verl's of the same names are of what was trained on
        if step.has_updated:  # verl's cannot do without a token
            super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        metrics |= ours | self._timing_metrics(timing_raw)

    def _timing_metrics(self, timing_raw: dict[str, float]) -> dict[str, float]:
        whole = self.this_step.whole
        return timing_metrics(whole.sampled, whole.trained, timing_raw, self._get_n_gpus_for_throughput())

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        """All that was sampled, as in V0; verl's would dump what is left in the queue."""
        with marked_timer("dump_rollout_generations", timing_raw, color="green"):
            sampled = self.this_step.whole.sampled
            sampled = select_rows(sampled, in_order(sampled, torch.arange(len(sampled))))
            told = {k: v.tolist() for k, v in sampled.non_tensor_batch.items() if k not in ("key", "tag", "uid", SENT)}
            self._dump_generations(
                inputs=told.pop("input"),
                outputs=told.pop("output"),
                gts=told.pop("gts"),
                scores=sampled.batch["token_level_scores"].sum(dim=1).tolist(),
                reward_extra_infos_dict=told,
                dump_path=rollout_data_dir,
            )
