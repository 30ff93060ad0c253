"""Whether something answers at an address, asked once and not for long."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from threading import Thread

SECONDS = 4.0
"""For one answer, the look-up of the name included."""


def no_answer(url: str, seconds: float = SECONDS) -> str | None:
    """Why nothing answers at `url`; None where something does, also if only to say no.

    The proxies of the environment are used. A name that cannot be looked up may take the system's resolver longer than
    `seconds`: that is not waited for.
    """
    said: list[str | None] = []
    asking = Thread(target=lambda: said.append(_ask(url, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    return said[0] if said else f"no answer within {seconds:g} s"


def _ask(url: str, seconds: float) -> str | None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError as error:
        return None if error.code < 500 and error.code != 407 else f"{error.code} {error.reason}"
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError, a dropped connection, no URL at all
        return str(getattr(error, "reason", None) or error) or type(error).__name__
    return None
