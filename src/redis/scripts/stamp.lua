-- Takes a range of stamps for one chunk and notes the chunk as in flight and its ids as pending. For a range delete it
-- takes one stamp and notes it among the ranges too, with what it covers. While the queue is
-- fuller than the chunk allows, it is refused and nothing is noted.
-- KEYS: 1 clock (hash)  2 inflight (zset)  3 pending (hash)  4 ranges (zset)  5 bytes (hash)  6 covers (hash)
-- ARGV: 1 chunk id  2 candidate epoch, kept if the clock has none  3 bytes of the chunk
--       4 the ratio from which it is refused, '0' for never
--       5 items, 6 bytes, 7 share of maxmemory at which the ratio is 1
--       8 kind and value of a range delete as a JSON array, '' for a chunk  9 partitions of the deployment
--       10.. the chunk's ids, in stamp order
-- Returns: { first stamp, '0' when refused or '-1' when the clock counts other partitions (bytes in flight: how many, 0 unknown), epoch, ids pending, bytes in flight, used share of maxmemory (0: no maxmemory),
--            first stamp of the oldest chunk in flight or '0' } (stamps and the share as text)
-- Lua's tostring keeps 14 digits and a stamp has 16, so numbers are formatted here.
local function text(stamp) return string.format('%.0f', stamp) end

local function answer(first)
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  local bytes = tonumber(redis.call('HGET', KEYS[5], 'total') or '0')
  return {
    first, redis.call('HGET', KEYS[1], 'epoch') or '', redis.call('HLEN', KEYS[3]), bytes,
    string.format('%.4f', memoryShare()), oldest and text(tonumber(oldest)) or '0',
  }
end

-- A producer that was not told the answer asks again, and both may arrive, in any order: the chunk keeps its stamps.
local noted = redis.call('ZSCORE', KEYS[2], ARGV[1])
if noted then return answer(text(tonumber(noted))) end

-- With another number of partitions the ids would belong to another lane. A lane of several that is not marked has lost its data,
-- perhaps all of Redis has, and only a process that knows Postgres can tell the number.
local last, partitions = unpack(redis.call('HMGET', KEYS[1], 'last', 'partitions'))
if partitions ~= ARGV[9] and (partitions or ARGV[9] ~= '1') then
  return { '-1', '', 0, tonumber(partitions or 0), '0', '0' }
end

-- The chunk itself does not count: near the limit small chunks would pass where large ones never do.
local mark = tonumber(ARGV[4])
if mark > 0 then
  local now = answer('0')
  local ratio = math.max(now[3] / ARGV[5], now[4] / ARGV[6], now[5] / ARGV[7])
  if ratio >= mark then return now end
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local first = math.max(tonumber(last or 0) + 1, now)
local given = 9
local count = #ARGV - given

redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2])
redis.call('HSET', KEYS[1], 'last', text(first + math.max(count, 1) - 1))
redis.call('ZADD', KEYS[2], text(first), ARGV[1])
if ARGV[8] ~= '' then
  redis.call('ZADD', KEYS[4], text(first), ARGV[1])
  redis.call('HSET', KEYS[6], ARGV[1], '[' .. text(first) .. ',' .. ARGV[8] .. ']')
end
redis.call('HSET', KEYS[5], ARGV[1], ARGV[3])
redis.call('HINCRBY', KEYS[5], 'total', ARGV[3])

-- Blocks of 1,000 ids: unpack is limited by Lua's stack (8,000 values).
for from = 1, count, 1000 do
  local fields = {}
  for i = from, math.min(from + 999, count) do
    fields[#fields + 1] = ARGV[i + given]
    fields[#fields + 1] = text(first + i - 1)
  end
  redis.call('HSET', KEYS[3], unpack(fields))
end
return answer(text(first))
