"""When a call is made again, and when that is left to the caller.

Only a call that has told nothing yet is made again: a server that began to answer may have done work, and repeating that is
the caller's decision. Only two codes promise that a repetition may help: UNAVAILABLE, after a growing pause, and
RESOURCE_EXHAUSTED with a time to come back, after that time.
"""

import random
import time
from dataclasses import dataclass

from .errors import UniPicError

# Coming back later makes these worse, not better: the deadline is only nearer then.
_HOPELESS = {"DEADLINE_UNMEETABLE"}


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is. Times in seconds."""

    attempts: int = 5
    """How often a call is made in all; 1 turns retries off."""
    backoff: float = 0.2
    """The pause before the second attempt; it doubles with each further one, and a random part of it is waited."""
    max_backoff: float = 2.0
    """The longest pause of our own choice."""
    max_retry_delay: float = 60.0
    """A server that asks for a longer pause than this is not waited for."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        for name in ("backoff", "max_backoff", "max_retry_delay"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number of seconds from 0, got {value}")


class Attempts:
    """The attempts of one call."""

    def __init__(self, policy: RetryPolicy, timeout: float) -> None:
        self._policy, self._made = policy, 0
        self._deadline = time.monotonic() + timeout

    def begin(self) -> float:
        """Begins an attempt, and returns the seconds that are left for it."""
        self._made += 1
        return max(0.0, self._deadline - time.monotonic())

    def pause_after(self, error: UniPicError) -> float | None:
        """How many seconds to wait before another attempt, or None where there is to be none."""
        if self._made >= self._policy.attempts or error.reason in _HOPELESS:
            return None
        if error.code == "UNAVAILABLE":
            pause = max(self._backoff(), error.retry_delay or 0.0)
        elif error.code == "RESOURCE_EXHAUSTED" and error.retry_delay is not None:
            # Clients that were all told the same time need not all come at it.
            pause = error.retry_delay + self._backoff() * 0.5
        else:
            return None
        is_too_long = error.retry_delay is not None and error.retry_delay > self._policy.max_retry_delay
        return None if is_too_long or time.monotonic() + pause >= self._deadline else pause

    def _backoff(self) -> float:
        doubled = self._policy.backoff * 2 ** min(self._made - 1, 30)
        return float(min(doubled, self._policy.max_backoff) * random.uniform(0.5, 1.0))
