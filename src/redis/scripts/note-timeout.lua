-- Notes how long a producer tries to add a chunk, unless another tries longer.
-- KEYS: 1 timeouts (zset)
-- ARGV: 1 milliseconds
-- The first write needs no memory (see settle.lua), so a producer can open while Redis is full.
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], 'GT', ARGV[1], 'enqueue')
