-- Gives a lane the generation of the L2 copies that the deployment has, and tells the lane's readers of it.
-- KEYS: 1 cache (hash)  2 clock (hash)  3 feed (stream)
-- ARGV: 1 generation
-- Returns: the lane's generation: a newer one stays
local current = redis.call('HGET', KEYS[1], 'generation')
if current and tonumber(current, 36) >= tonumber(ARGV[1], 36) then return current end
-- As in settle.lua: a worker that starts may go on when Redis is full.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], 'generation', ARGV[1])
if current then announce(KEYS[2], KEYS[3], ARGV[1]) end
return ARGV[1]
