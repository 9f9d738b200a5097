"""What Redis does in one step. For a session: its record and its lease are one hash, one key.

A lease has an owner, an end and a fence, a number that grows with every claim. A write that shows
an older fence than the last one is refused, however late it comes. Time is Redis' own, so that no
clock of a gateway matters; `ARGV[1]`, in ms, takes its place in tests of these rules.
`tests/session/lease_model.py` states them in Python, and both are compared.

Fields: fence, owner ("" when its client is not here), leased (the lease's end, ms), user ("=NAME",
or ""), token, before, until (Unix s, "" while its client is here), changed (Unix s), body.
"""

from __future__ import annotations

_NOW = """
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
"""

SAVE = (
    _NOW
    + """
-- ARGV: now, me, fence, ttl_ms, keep_ms, user, token, before, until, changed, body
local had = redis.call('HMGET', KEYS[1], 'fence', 'owner')
local fence = tonumber(ARGV[3])
if had[1] then
  local last = tonumber(had[1])
  if last > fence or (last == fence and had[2] ~= ARGV[2] and had[2] ~= '') then return 0 end
end
if fence == 0 then fence = 1 end
local here = ARGV[9] == ''
redis.call('HSET', KEYS[1], 'fence', fence, 'owner', here and ARGV[2] or '',
  'leased', here and now + ARGV[4] or 0, 'user', ARGV[6], 'token', ARGV[7], 'before', ARGV[8],
  'until', ARGV[9], 'changed', ARGV[10], 'body', ARGV[11])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return fence
"""
)
"""The session's new fence; 0: another one's is newer, or it is another one's."""

TAKE = (
    _NOW
    + """
-- ARGV: now, me, ttl_ms, keep_ms, resume_ms, user, token, new, now_s
local it = redis.call('HMGET', KEYS[1],
  'fence', 'owner', 'leased', 'user', 'token', 'before', 'until', 'body')
if not it[1] or it[4] ~= ARGV[6] or (it[5] ~= ARGV[7] and it[6] ~= ARGV[7]) then return {} end
local leased = tonumber(it[3])
if it[7] ~= '' then
  if tonumber(it[7]) <= tonumber(ARGV[9]) then return {} end
elseif leased + ARGV[5] <= now then
  return {}
elseif it[2] ~= ARGV[2] and leased > now then
  return {it[2], leased - now}
end
local fence = tonumber(it[1]) + 1
redis.call('HSET', KEYS[1], 'fence', fence, 'owner', ARGV[2], 'leased', now + ARGV[3],
  'token', ARGV[8], 'before', ARGV[7], 'until', '')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {fence, it[5], it[6], it[8]}
"""
)
"""Nothing: there is no such session. Two: its owner, and for how many ms yet. Four: it is taken;
its fence, token and before as they were, and body."""

RENEW = (
    _NOW
    + """
-- ARGV: now, me, ttl_ms, keep_ms, then a fence for each key
local kept = {}
for i, key in ipairs(KEYS) do
  local had = redis.call('HMGET', key, 'fence', 'owner')
  local fence = tonumber(ARGV[4 + i])
  if not had[1] or tonumber(had[1]) < fence then
    kept[i] = 2
  elseif tonumber(had[1]) == fence and had[2] == ARGV[2] then
    redis.call('HSET', key, 'leased', now + ARGV[3])
    redis.call('PEXPIRE', key, ARGV[4])
    kept[i] = 1
  else
    kept[i] = 0
  end
end
return kept
"""
)
"""For each key: 1, renewed; 0, it is another one's; 2, Redis lost it: the next save mends that."""

FORGET = """
-- ARGV: for how long a late write is still refused, ms
local had = redis.call('HGET', KEYS[1], 'fence')
redis.call('DEL', KEYS[1])
if had then
  redis.call('HSET', KEYS[1], 'fence', tonumber(had) + 1, 'owner', '-', 'user', '-')
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return had and 1 or 0
"""
"""Whether there was one. A stump stays for a while, so that a late write does not bring it back."""

LAPSE = (
    _NOW
    + """
-- ARGV: now, now_s, resume_ms, retention_ms
local it = redis.call('HMGET', KEYS[1], 'until', 'user', 'leased', 'token')
if not it[1] then return {'gone', '0'} end
local ends = tonumber(it[1])
if not ends then
  ends = ARGV[2] + (it[3] + ARGV[3] - now) / 1000
end
if ends > tonumber(ARGV[2]) then
  return {it[4] == '' and 'over' or 'kept', string.format('%.3f', ends)}
end
if it[4] ~= '' and it[2] ~= '' and tonumber(ARGV[4]) > 0 then
  ends = string.format('%.3f', ends + ARGV[4] / 1000)
  redis.call('HSET', KEYS[1], 'token', '', 'before', '', 'until', ends)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {'over', ends}
end
redis.call('DEL', KEYS[1])
return {'gone', '0'}
"""
)
"""What becomes of a session whose time has come, and when that of it ends (Unix s): it is gone; it
can be resumed yet; it is over, and kept for its user. One whose gateway died is parked since its
lease ended."""

SPEND = (
    _NOW
    + """
-- ARGV: now, then of turns, characters and audio what part of a minute's worth is spent
local had = redis.call('HMGET', KEYS[1], 'turns', 'characters', 'audio', 'at')
local passed = (now - (tonumber(had[4]) or now)) / 60000
local left, least = {}, 1
for i = 1, 3 do
  left[i] = math.min(1, (tonumber(had[i]) or 1) + passed) - ARGV[1 + i]
  least = math.min(least, left[i])
end
redis.call('HSET', KEYS[1], 'turns', left[1], 'characters', left[2], 'audio', left[3], 'at', now)
redis.call('PEXPIRE', KEYS[1], math.floor((1 - least) * 60000) + 1000)
return {tostring(left[1]), tostring(left[2]), tostring(left[3])}
"""
)
"""A user's buckets (`session/budgets.py`) over all gateways: what part of each is left. One that is
full is not kept."""

ENTER = (
    _NOW
    + """
-- ARGV: now, ttl_ms, most, place
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[4]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3])
then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
)
"""Whether a user may have this session too, or has it; it is to be asked again before its end."""

HAS_ROOM = (
    _NOW
    + """
-- ARGV: now, most
return redis.call('ZCOUNT', KEYS[1], now, '+inf') < tonumber(ARGV[2]) and 1 or 0
"""
)
"""Whether a user may have one more."""
