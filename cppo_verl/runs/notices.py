"""What a run has to say, besides its events, to whoever started it."""

NOTICE = "note: "
"""How such a line begins, whichever process prints it: the screen shows these (`watch.screen`)."""


def notice(text: str) -> None:
    """Print a notice."""
    print(f"{NOTICE}{text}", flush=True)
