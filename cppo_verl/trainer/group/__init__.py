"""A question's G completions travel together: asked for at once, sampled by one request, scored by one call."""
