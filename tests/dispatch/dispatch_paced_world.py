"""A world on a virtual clock: workers behind one rate limiter, a network with latency, and a server that counts requests."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from rembg_watch.dispatch.rate import AdaptiveRate


@dataclass
class TokenBucket:
    """``rate`` requests a second in the long run, ``burst`` at once."""

    rate: float
    burst: float = 1.0
    tokens: float = -1.0
    at: float = 0.0

    def admits(self, now):
        if self.tokens < 0:
            self.tokens = self.burst
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return True
        return False

    def wait(self, now):
        return max(0.0, (1 - self.tokens) / self.rate)


@dataclass
class FixedWindow:
    """``rate * window`` requests in each window of so many seconds, counted from 0 in each."""

    rate: float
    window: float = 1.0
    number: int = -1
    count: int = 0

    def admits(self, now):
        number = int(now // self.window)
        if number != self.number:
            self.number, self.count = number, 0
        if self.count < round(self.rate * self.window):
            self.count += 1
            return True
        return False

    def wait(self, now):
        return self.window - now % self.window


@dataclass
class SlidingWindow:
    """``rate * window`` requests in any span of so many seconds; what is refused does not count."""

    rate: float
    window: float = 1.0
    admitted: deque = field(default_factory=deque)

    def admits(self, now):
        while self.admitted and self.admitted[0] <= now - self.window:
            self.admitted.popleft()
        if len(self.admitted) < round(self.rate * self.window):
            self.admitted.append(now)
            return True
        return False

    def wait(self, now):
        return max(0.0, self.admitted[0] + self.window - now)


@dataclass
class World:
    """Runs ``workers`` that always have work against a server, for as many virtual seconds as wanted."""

    server: object
    workers: int = 8
    latency: float = 0.5
    upper: float | None = None
    says_when: bool = False
    seed: int = 1
    now: float = 0.0
    sent: list = field(default_factory=list)
    accepted: list = field(default_factory=list)
    refused: list = field(default_factory=list)

    def __post_init__(self):
        self.rate_limit = AdaptiveRate(self.upper)
        self._dice = random.Random(self.seed)
        self._events = []
        self._number = 0
        self._line = deque(range(self.workers))
        self._at(0.0, "turn")

    def _at(self, when, what, *more):
        self._number += 1
        heapq.heappush(self._events, (when, self._number, what, more))

    def run(self, seconds):
        """Go on for so many seconds."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, what, more = heapq.heappop(self._events)
            getattr(self, f"_{what}")(*more)
        self.now = end
        return self

    def _turn(self):
        """The first one in the line asks for its place, as RateLimiter does."""
        if not self._line:
            return
        delay = self.rate_limit.take(self.now)
        if delay > 0:
            self._at(self.now + min(delay, 0.5) + self._dice.uniform(0, 0.002), "turn")
            return
        worker = self._line.popleft()
        self.sent.append(self.now)
        latency = self.latency * self._dice.uniform(0.7, 1.3)
        self._at(self.now + 0.2 * latency, "arrive", worker, self.now, latency)
        if self._line:
            self._at(self.now, "turn")

    def _arrive(self, worker, sent_at, latency):
        if self.server.admits(self.now):
            self.accepted.append(self.now)
            self._at(sent_at + latency, "answer", worker, sent_at, None)
        else:
            self.refused.append(self.now)
            wait = self.server.wait(self.now) if self.says_when else -1.0
            self._at(self.now + 0.2 * latency, "answer", worker, sent_at, wait)  # a refusal is quick

    def _answer(self, worker, sent_at, wait):
        if wait is None:
            self.rate_limit.accepted(self.now, sent_at)
        else:
            self.rate_limit.refused(self.now, sent_at, wait if wait >= 0 else None)
        self._line.append(worker)
        if len(self._line) == 1:
            self._at(self.now, "turn")

    def rate(self, since=0.0):
        """Give the requests a second that were accepted since then."""
        return sum(at >= since for at in self.accepted) / (self.now - since)

    def refusals(self, since=0.0):
        """Give the part of the requests that were refused since then, 0..1."""
        bad = sum(at >= since for at in self.refused)
        return bad / max(1, bad + sum(at >= since for at in self.accepted))
