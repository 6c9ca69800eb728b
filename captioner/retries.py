"""What is tried again over the network, and when."""

import email.utils
import random
import time

PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses of an answer that a later try may not meet again."""
LONGEST_PAUSE = 60.0
"""Seconds: a server that asks for more does not get it."""


def pause(attempt: int) -> float:
    """Seconds to wait after a try (the first is 1): twice as long each time, and apart from others
    who wait as well."""
    return float(2 ** (attempt - 1) * random.uniform(0.5, 1.0))


def retry_after(header: str | None) -> float:
    """Seconds that a server asks to wait by its Retry-After, a number or a date (RFC 9110,
    10.2.3); 0 where it asks for nothing, and at most `LONGEST_PAUSE`."""
    asked = header or ""
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(asked).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE)
