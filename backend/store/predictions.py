"""Finished predictions by what they depend on, with claims on those being made.

A finished prediction is kept as the JSON bytes that Label Studio gets, so that a cached
answer is spliced into a reply without being parsed. Beside each value its key stands in a
list by age, from which the oldest are dropped when there are too many.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.client import Pipeline
from redis.commands.core import Script

from backend.domain import Failed, Predicted
from backend.store import keys

_FINISHED, _FAILED = b"P", b"F"

_PUT = """
-- KEYS: finished by age, failed by age.
-- ARGV: prefix, max_items, ttl_s, failure_ttl_s, then task key and tagged value in turn.
local prefix, max_items = ARGV[1], tonumber(ARGV[2])
local ttl_s = {tonumber(ARGV[3]), tonumber(ARGV[4])}
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
for i = 5, #ARGV, 2 do
  local kind = 1
  if string.sub(ARGV[i + 1], 1, 1) == 'F' then kind = 2 end
  redis.call('SET', prefix .. ARGV[i], ARGV[i + 1], 'EX', ttl_s[kind])
  redis.call('ZADD', KEYS[kind], string.format('%.0f', now_us + i), ARGV[i])
  redis.call('ZREM', KEYS[3 - kind], ARGV[i])
end
for kind = 1, 2 do
  -- What has expired needs no place in the list.
  local expired_us = string.format('(%.0f', now_us - ttl_s[kind] * 1000000)
  redis.call('ZREMRANGEBYSCORE', KEYS[kind], '-inf', expired_us)
  local surplus = redis.call('ZCARD', KEYS[kind]) - max_items
  while surplus > 0 do
    local oldest = redis.call('ZPOPMIN', KEYS[kind], math.min(surplus, 500))
    for i = 1, #oldest, 2 do redis.call('UNLINK', prefix .. oldest[i]) end
    surplus = surplus - 500
  end
end
"""

_CLAIM = """
-- KEYS: one claim a task. ARGV: job id, ttl_s. Returns the owner of each.
local owners = {}
for i, key in ipairs(KEYS) do
  local owner = redis.call('GET', key)
  if not owner or owner == ARGV[1] then
    redis.call('SET', key, ARGV[1], 'EX', ARGV[2])
    owner = ARGV[1]
  end
  owners[i] = owner
end
return owners
"""

_RELEASE = """
-- KEYS: one claim a task. ARGV: the job id of each.
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i] then redis.call('DEL', key) end
end
"""

_FORGET = """
-- KEYS: one outcome a task. Finished ones stay.
for _, key in ipairs(KEYS) do
  if redis.call('GETRANGE', key, 0, 0) == 'F' then redis.call('DEL', key) end
end
"""


class PredictionCache:
    """Predictions of all projects, at most max_items finished and as many failed ones.

    ttl_s, failure_ttl_s: seconds that a finished prediction and a failure are kept.
    """

    def __init__(
        self, connection: redis.Redis, *, max_items: int, ttl_s: int, failure_ttl_s: int
    ) -> None:
        self._redis = connection
        self._limits = (max_items, ttl_s, failure_ttl_s)
        self._put = connection.register_script(_PUT)
        self._claim = connection.register_script(_CLAIM)
        self._release = connection.register_script(_RELEASE)
        self._forget = connection.register_script(_FORGET)

    def get_many(self, task_keys: Sequence[str]) -> list[bytes | Failed | None]:
        """Per key the prediction as JSON bytes, the failure, or None; one round trip."""
        if not task_keys:
            return []
        found: Any = self._redis.mget([keys.prediction(key) for key in task_keys])
        return [_decoded(value) for value in found]

    def put_many(
        self, outcomes: Mapping[str, Predicted | Failed], within: Pipeline | None = None
    ) -> None:
        """Keep outcomes by task key and drop the oldest beyond max_items; one round trip.

        within: a pipeline that takes it along.
        Raises: ValueError when a prediction holds a number that JSON has not (NaN).
        """
        if not outcomes:
            return
        arguments: list[Any] = [keys.prediction(""), *self._limits]
        for task_key, outcome in outcomes.items():
            arguments += [task_key, _encoded(outcome)]
        by_age = [keys.predictions_by_age("finished"), keys.predictions_by_age("failed")]
        _call(self._put, by_age, arguments, within)

    def claim(self, task_keys: Sequence[str], job_id: str, ttl_s: int) -> list[str]:
        """Per key the id of the job that predicts it: ours, or one that was before us.

        A claim that is already ours is prolonged to ttl_s. One round trip.
        """
        if not task_keys:
            return []
        owners: Any = self._claim(keys=[keys.claim(key) for key in task_keys], args=[job_id, ttl_s])
        return [owner.decode() for owner in owners]

    def owners(self, task_keys: Sequence[str]) -> list[str | None]:
        """Per key the id of the job that has claimed it, None where none has; one round trip."""
        if not task_keys:
            return []
        found: Any = self._redis.mget([keys.claim(key) for key in task_keys])
        return [None if owner is None else owner.decode() for owner in found]

    def forget_failures(self, task_keys: Sequence[str]) -> None:
        """Let these be predicted anew where they failed; one round trip."""
        if task_keys:
            self._forget(keys=[keys.prediction(key) for key in task_keys])

    def release(
        self, task_keys: Sequence[str], job_id: str, within: Pipeline | None = None
    ) -> None:
        """Give up claims, only where they are still held by this job."""
        self.release_each(dict.fromkeys(task_keys, job_id), within)

    def release_each(self, job_of: Mapping[str, str], within: Pipeline | None = None) -> None:
        """The same of several jobs: ids by task key; one round trip."""
        if job_of:
            claims = [keys.claim(key) for key in job_of]
            _call(self._release, claims, list(job_of.values()), within)


def _call(
    script: Script, names: Sequence[str], arguments: Sequence[Any], within: Pipeline | None
) -> None:
    if within is None:
        script(keys=names, args=arguments)
    else:  # by its text: a pipeline would first ask, one more trip, whether Redis knows it
        within.eval(str(script.script), len(names), *names, *arguments)


def task_key(version: str, config_fingerprint: str, data: Mapping[str, Any]) -> str:
    """Hex digest of all that a task's prediction depends on; the order of data is none of it."""
    text = json.dumps([version, config_fingerprint, data], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def are_finished(connection: redis.Redis, task_keys: Sequence[str]) -> list[bool]:
    """Per key whether its prediction is kept; one round trip."""
    with connection.pipeline(transaction=False) as pipe:
        for task_key in task_keys:
            pipe.getrange(keys.prediction(task_key), 0, 0)
        return [tag == _FINISHED for tag in pipe.execute()]


def _encoded(outcome: Predicted | Failed) -> bytes:
    if isinstance(outcome, Failed):
        return _FAILED + json.dumps([outcome.code, outcome.reason]).encode()
    # NaN would make the whole reply unreadable for Label Studio; refuse it here.
    text = json.dumps(
        dict(outcome.payload), separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return _FINISHED + text.encode()


def _decoded(value: bytes | None) -> bytes | Failed | None:
    if value is None:
        return None
    if value[:1] == _FAILED:
        code, reason = json.loads(value[1:])
        return Failed(code, reason)
    return value[1:]
