-- Raises the clock to a stamp known from Postgres, so that a Redis that lost its data does not give out older stamps.
-- KEYS: 1 clock (hash)
-- ARGV: 1 stamp, 0 when only the epoch is wanted  2 candidate epoch
-- Returns: the epoch
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or '0')
-- The first write needs no memory (see settle.lua), so workers can start while Redis is full.
redis.call('HDEL', KEYS[1], '')
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2])
if ARGV[1] ~= '0' then redis.call('HSET', KEYS[1], 'raised', ARGV[1]) end
if tonumber(ARGV[1]) > last then redis.call('HSET', KEYS[1], 'last', ARGV[1]) end
return redis.call('HGET', KEYS[1], 'epoch')
