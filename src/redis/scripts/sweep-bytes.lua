-- Drops the bytes of chunks that are no longer in flight. Workers of an older version settle without doing so.
-- KEYS: 1 bytes (hash)  2 inflight (zset)
-- ARGV: 1 cursor, '0' to start
-- Returns: the next cursor
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)
local fields = page[2]
for i = 1, #fields, 2 do
  if fields[i] ~= 'total' and not redis.call('ZSCORE', KEYS[2], fields[i]) then
    redis.call('HDEL', KEYS[1], fields[i])
    redis.call('HINCRBY', KEYS[1], 'total', 0 - fields[i + 1])
  end
end
return page[1]
