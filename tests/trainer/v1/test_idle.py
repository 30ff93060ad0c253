"""Idle times of V1's steps: spans of sampling over windows of time."""

from hypothesis import given
from hypothesis import strategies as st

from cppo_verl.trainer.v1.idle import Sampling, overlap

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda ends: tuple(sorted(ends))), max_size=6)


@given(SPANS, st.lists(st.integers(0, 30), max_size=8, unique=True).map(sorted))
def test_overlap_counts_each_second_once(spans, ends):
    windows = list(zip(ends[::2], ends[1::2], strict=False))
    seconds = [s for s in range(30) if any(a <= s < b for a, b in spans) and any(a <= s < b for a, b in windows)]
    assert overlap(spans, windows) == len(seconds)


def test_spans_are_handed_out_once_and_go_on():
    sampling = Sampling()
    sampling.begin()
    sampling.begin()
    sampling.end()
    (begun,) = sampling.take()
    sampling.end()
    (rest,) = sampling.take()
    assert begun[0] <= begun[1] == rest[0] <= rest[1]
    assert sampling.take() == []
