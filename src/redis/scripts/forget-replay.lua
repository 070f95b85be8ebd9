-- Takes back what note-replay.lua noted for a chunk that was never queued.
-- KEYS: 1 inflight (zset)  2 pending (hash)
-- ARGV: 1 chunk id  2.. id and stamp in turn
-- The first write needs no memory, so a full Redis lets the script run.
redis.call('ZREM', KEYS[1], ARGV[1])
-- Another stamp belongs to another write of the id: it stays.
for i = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[2], ARGV[i]) end
end
