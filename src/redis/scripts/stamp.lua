-- Takes a range of stamps for one chunk and notes the chunk as in flight and its ids as pending. Without ids it takes one
-- stamp for a range delete, which is noted among the ranges too.
-- KEYS: 1 clock (hash)  2 inflight (zset)  3 pending (hash)  4 ranges (zset)
-- ARGV: 1 chunk id  2 candidate epoch, kept if the clock has none  3.. the chunk's ids, in stamp order
-- Returns: { first stamp, epoch, ids pending, first stamp of the oldest chunk in flight } (stamps as text)
-- Numbers are formatted by hand: Lua's own tostring keeps 14 digits and a stamp has 16.
local function text(stamp) return string.format('%.0f', stamp) end

local function answer(first)
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  return { text(first), redis.call('HGET', KEYS[1], 'epoch'), redis.call('HLEN', KEYS[3]), text(tonumber(oldest)) }
end

-- A producer that was not told the answer asks again, and both may arrive, in any order: the chunk keeps its stamps.
local noted = redis.call('ZSCORE', KEYS[2], ARGV[1])
if noted then return answer(tonumber(noted)) end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or '0')
local first = math.max(last + 1, now)
local count = #ARGV - 2

redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2])
redis.call('HSET', KEYS[1], 'last', text(first + math.max(count, 1) - 1))
redis.call('ZADD', KEYS[2], text(first), ARGV[1])
if count == 0 then redis.call('ZADD', KEYS[4], text(first), ARGV[1]) end

-- Blocks of 1,000 ids: unpack is limited by Lua's stack (8,000 values).
for from = 1, count, 1000 do
  local fields = {}
  for i = from, math.min(from + 999, count) do
    fields[#fields + 1] = ARGV[i + 2]
    fields[#fields + 1] = text(first + i - 1)
  end
  redis.call('HSET', KEYS[3], unpack(fields))
end
return answer(first)
