-- Drops the notes of chunks that were stamped but never queued, because their producer died in between. Remembers the chunks,
-- so that a drain worker refuses a job that comes later.
-- KEYS: 1 inflight (zset)  2 pending (hash)  3 ranges (zset)  4 swept (zset)  5 covers (hash)
-- ARGV: 1 age in µs from which a chunk without a job is an orphan  2 cursor of the pending scan, '0' to start
--       3 µs for which chunks are remembered  4 how many at most
--       5.. prefixes of the job keys of chunks and range deletes (same hash tag)
-- Returns: { orphaned chunks dropped, pending ids dropped, next cursor }
-- Never drops a chunk whose job is in the queue. Remembers a dropped chunk, so that a worker that holds its job gets the same
-- answer whenever it asks.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local horizon = now - tonumber(ARGV[1])
local chunks, ids = 0, 0
local function text(stamp) return string.format('%.0f', stamp) end

if ARGV[2] == '0' then
  local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(horizon), 'LIMIT', 0, 1000)
  for _, chunk in ipairs(old) do
    if redis.call('EXISTS', ARGV[5] .. chunk, ARGV[6] .. chunk) == 0 then
      chunks = chunks + redis.call('ZREM', KEYS[1], chunk)
      redis.call('ZREM', KEYS[3], chunk)
      redis.call('HDEL', KEYS[5], chunk)
      redis.call('ZADD', KEYS[4], text(now), chunk)
    end
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', text(now - ARGV[3]))
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -ARGV[4] - 1)
end

-- Below the oldest chunk in flight every stamp has settled or was never queued.
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local settled = math.min(horizon, oldest and tonumber(oldest) or horizon)
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', 500)
for i = 1, #page[2], 2 do
  if tonumber(page[2][i + 1]) < settled then ids = ids + redis.call('HDEL', KEYS[2], page[2][i]) end
end
return { chunks, ids, page[1] }
