"""What memory a model needs, and which settings fit: by hand, and what must hold of any model and hardware."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.fitting import OFFLOADS, RESERVE, Job, fit, idle_bytes, update_bytes, why_not
from cppo_verl.hardware.memory import GIB, Model, Training, cache_bytes, engine_bytes, update_memory

QWEN_7B = Model(
    parameters=7_615_616_512,
    layers=28,
    hidden=3584,
    vocabulary=152_064,
    intermediate=18_944,
    heads=28,
    kv_heads=4,
    head_size=128,
    tied=False,
)
QWEN_05B = Model(
    parameters=494_032_768,
    layers=24,
    hidden=896,
    vocabulary=151_936,
    intermediate=4864,
    heads=14,
    kv_heads=2,
    head_size=64,
    tied=True,
)


@st.composite
def models(draw):
    """Dense decoders of any size."""
    heads, head_size, layers = (draw(st.sampled_from(of)) for of in ((4, 8, 28, 32), (32, 64, 128), (2, 24, 80)))
    hidden, vocabulary = heads * head_size, draw(st.sampled_from((640, 32_000, 152_064)))
    intermediate, tied = hidden * draw(st.integers(1, 6)), draw(st.booleans())
    layer = 4 * hidden**2 + 3 * hidden * intermediate
    embeddings = (1 if tied else 2) * vocabulary * hidden
    kv_heads = draw(st.sampled_from((2, 4, heads)))
    return Model(
        layers * layer + embeddings, layers, hidden, vocabulary, intermediate, heads, kv_heads, head_size, tied
    )


jobs = st.builds(
    Job,
    model=models(),
    devices=st.sampled_from([1, 2, 3, 4, 8, 16, 64]),
    memory=st.sampled_from([8, 16, 24, 40, 80, 141]).map(lambda size: size * GIB),
    longest=st.sampled_from([128, 1536, 4096, 30_000, 50_000]),
    critic=st.booleans(),
)


def test_the_7b_model_by_hand():
    memory = update_memory(QWEN_7B, Training(ranks=8, tokens=1000, longest=1000))
    assert (memory.weights, memory.gradients) == (QWEN_7B.parameters // 2,) * 2
    assert memory.optimizer == QWEN_7B.parameters
    assert QWEN_7B.layer == (7_615_616_512 - 2 * 152_064 * 3584) // 28
    assert memory.activations == 1000 * (1000 + 28 * 2 * 3584)
    assert memory.logits == (3 * 2 * 1000 + 4 * 512) * 152_064
    assert cache_bytes(QWEN_7B, 1) == 28 * 2 * 4 * 128 * 2 == 2 * cache_bytes(QWEN_7B, 2)
    assert cache_bytes(QWEN_7B, 8) == cache_bytes(QWEN_7B, 4), "a key head is on two devices"
    assert engine_bytes(QWEN_7B, 1) > 2 * QWEN_7B.parameters > engine_bytes(QWEN_7B, 2)


@pytest.mark.parametrize(
    ("job", "offload", "tokens", "engine", "published"),
    [
        (Job(QWEN_05B, 8, 80 * GIB, 704), "none", 8000, 0.6, 65.7),
        (Job(QWEN_05B, 8, 80 * GIB, 768, critic=True), "none", 16384, 0.6, 57.9),
        (Job(QWEN_7B, 8, 80 * GIB, 1536, critic=True), "between updates", 8192, 0.5, 69.2),
        (Job(QWEN_7B, 8, 80 * GIB, 1536, critic=True), "none", 12000, 0.6, 83.6),
    ],
)
def test_the_published_peaks_of_8_h100(job, offload, tokens, engine, published):
    """recipe/tuning: there vLLM was in the trainer's process, and its share of a GPU is counted beside the update.

    Within a fifth: from 13 % below to 13 % above. Most of each sum is the engine's share.
    """
    assert update_bytes(job, offload, tokens) / GIB + 80 * engine == pytest.approx(published, rel=0.2)


@given(models(), st.sampled_from([1, 2, 8]), st.sampled_from(["layers", "hidden", "vocabulary", "intermediate"]))
def test_a_larger_model_never_needs_less(model, ranks, size):
    settings = Training(ranks, 4096, 1024)
    before = update_memory(model, settings)
    larger = replace(model, parameters=2 * model.parameters, **{size: 2 * getattr(model, size)})
    if larger.layer >= model.layer:  # more layers of the same parameters are smaller ones
        assert update_memory(larger, settings).total >= before.total
    assert engine_bytes(larger, 1) > engine_bytes(model, 1)


@given(jobs, st.sampled_from(OFFLOADS), st.sampled_from([512, 4096]))
def test_more_devices_never_need_more_on_each(job, offload, tokens):
    more = replace(job, devices=2 * job.devices)
    assert update_bytes(more, offload, tokens) <= update_bytes(job, offload, tokens)
    assert idle_bytes(more, offload) <= idle_bytes(job, offload)


@given(jobs, st.sampled_from([512, 4096]))
def test_more_offload_never_needs_more(job, tokens):
    updates, idles = zip(
        *((update_bytes(job, offload, tokens), idle_bytes(job, offload)) for offload in OFFLOADS), strict=True
    )
    assert updates[0] >= updates[1] >= updates[2]
    assert idles[0] >= idles[1] == idles[2] == 0


@given(jobs)
def test_what_is_proposed_fits(job):
    try:
        found = fit(job)
    except ConfigError:
        return  # the next test's
    assert update_bytes(job, found.offload, found.tokens) <= job.usable
    share = job.memory * found.utilization // 100
    assert found.idle + share + RESERVE <= job.memory
    assert found.sync.total <= job.usable and found.sync.training == found.idle
    assert found.tokens >= job.longest
    assert found.cache_tokens >= job.longest
    assert engine_bytes(job.model, found.tensor_shards) + cache_bytes(job.model, found.tensor_shards) <= share
    assert job.per_node % found.tensor_shards == job.model.heads % found.tensor_shards == 0
    assert 0 in (job.model.kv_heads % found.tensor_shards, found.tensor_shards % job.model.kv_heads)
    total = found.update.total
    assert total == update_bytes(job, found.offload, found.tokens)
    assert total >= max(size for size in vars(found.update).values()), "no part is more than the whole"


too_large = st.builds(
    Job,
    model=models().filter(lambda model: model.parameters > 10**9),
    devices=st.sampled_from([1, 2, 8]),
    memory=st.sampled_from([4, 6, 8]).map(lambda size: size * GIB),
    longest=st.sampled_from([512, 4096, 50_000]),
)


@given(too_large)
def test_who_cannot_fit_is_told_what_would(job):
    try:
        fit(job)
        return
    except ConfigError as error:
        (said,) = error.args
    if "--gpus" in said:
        fit(replace(job, devices=int(said.rpartition(" ")[2])))
    elif "sequences of" in said and "tokens fit" in said:
        fit(replace(job, longest=int(said.split()[-3])))
    else:
        fit(replace(job, memory=int(said.split("--memory ")[1].split()[0]) * GIB))


def test_offload_is_taken_in_the_order_of_what_it_costs():
    """PPO of 7B on 8 devices: of 80 GiB nothing; of 32, beside which the other model is too much; of 16, all of it."""
    offloads = {size: fit(Job(QWEN_7B, 8, size * GIB, 1536, critic=True)).offload for size in (80, 32, 16)}
    assert offloads == {80: "none", 32: "between updates", 16: "always"}
    of_ppo = fit(Job(QWEN_7B, 8, 80 * GIB, 1536, critic=True))
    assert of_ppo.update.critic == 12 * QWEN_7B.parameters // 8
    held = {size: fit(Job(QWEN_7B, 8, size * GIB, 1536, critic=True)).offloaded for size in (80, 32, 16)}
    assert held == {80: 0, 32: 24 * QWEN_7B.parameters, 16: 32 * QWEN_7B.parameters}, "gradients too, where always"
    assert of_ppo.idle == 2 * of_ppo.update.critic
    assert of_ppo.utilization < fit(Job(QWEN_7B, 8, 80 * GIB, 1536)).utilization


def test_tensor_shards_where_one_device_holds_too_few_sequences():
    """On 44 GiB, weights and forward of a 7B engine leave room for fewer than 16 sequences of 30,000 tokens."""
    assert fit(Job(QWEN_7B, 8, 44 * GIB, 30_000)).tensor_shards == 2
    assert fit(Job(QWEN_7B, 8, 44 * GIB, 1536)).tensor_shards == 1


def test_no_number_of_devices_is_enough():
    assert "no number of devices of 16 GiB is enough" in why_not(Job(QWEN_7B, 8, 16 * GIB, 50_000))
    with pytest.raises(ConfigError, match=r"they fit on \d+: --gpus"):
        fit(Job(QWEN_7B, 1, 16 * GIB, 512))
