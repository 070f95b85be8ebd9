-- Takes back what stamp.lua noted for a chunk whose job may not have arrived, unless the job is there. Remembers the chunk, so
-- that a drain worker refuses a job that comes later.
-- KEYS: 1 inflight (zset)  2 pending (hash)  3 ranges (zset)  4 swept (zset)  5 clock (hash)  6 bytes (hash)
--       7 job of the chunk  8 covers (hash)
-- ARGV: 1 chunk id  2 epoch in which it was stamped  3 chunks to remember  4.. the chunk's ids, in stamp order
-- Returns: 'withdrawn', 'queued' (the job is there), 'settled' (it was), or 'lost' (Redis lost its data since the stamp)
local chunk = ARGV[1]
local first = redis.call('ZSCORE', KEYS[1], chunk)
if not first then
  if redis.call('ZSCORE', KEYS[4], chunk) then return 'withdrawn' end
  return redis.call('HGET', KEYS[5], 'epoch') == ARGV[2] and 'settled' or 'lost'
end
if redis.call('EXISTS', KEYS[7]) == 1 then return 'queued' end

-- The first write needs no memory, so a full Redis lets the script run.
redis.call('ZREM', KEYS[1], chunk)
redis.call('ZREM', KEYS[3], chunk)
redis.call('HDEL', KEYS[8], chunk)
local bytes = redis.call('HGET', KEYS[6], chunk)
if bytes then
  redis.call('HDEL', KEYS[6], chunk)
  redis.call('HINCRBY', KEYS[6], 'total', 0 - bytes)
end
for from = 4, #ARGV, 1000 do
  local to = math.min(from + 999, #ARGV)
  local noted, mine = redis.call('HMGET', KEYS[2], unpack(ARGV, from, to)), {}
  for i = from, to do
    if tonumber(noted[i - from + 1] or 0) == first + i - 4 then mine[#mine + 1] = ARGV[i] end
  end
  if #mine > 0 then redis.call('HDEL', KEYS[2], unpack(mine)) end
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[4], string.format('%.0f', time[1] * 1000000 + time[2]), chunk)
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -ARGV[3] - 1)
return 'withdrawn'
