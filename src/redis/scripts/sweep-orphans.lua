-- Drops notes of chunks that were stamped but never queued: their producer died in between or was told of a failure.
-- KEYS: 1 inflight (zset)  2 pending (hash)  3 ranges (zset)
-- ARGV: 1 age in µs from which a chunk without a job is an orphan  2 cursor of the pending scan, '0' to start
--       3.. prefixes of the job keys of chunks and range deletes (same hash tag)
-- Returns: { orphaned chunks dropped, pending ids dropped, next cursor }
local time = redis.call('TIME')
local horizon = time[1] * 1000000 + time[2] - tonumber(ARGV[1])
local chunks, ids = 0, 0

if ARGV[2] == '0' then
  local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', horizon), 'LIMIT', 0, 1000)
  for _, chunk in ipairs(old) do
    if redis.call('EXISTS', ARGV[3] .. chunk, ARGV[4] .. chunk) == 0 then
      chunks = chunks + redis.call('ZREM', KEYS[1], chunk)
      redis.call('ZREM', KEYS[3], chunk)
    end
  end
end

-- Below the oldest chunk in flight every stamp has settled or was never queued.
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local settled = math.min(horizon, oldest and tonumber(oldest) or horizon)
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', 500)
for i = 1, #page[2], 2 do
  if tonumber(page[2][i + 1]) < settled then ids = ids + redis.call('HDEL', KEYS[2], page[2][i]) end
end
return { chunks, ids, page[1] }
