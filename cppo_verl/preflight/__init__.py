"""Everything that is checked before a run, and what a config plans: refused in words, before Ray and the GPUs start."""
