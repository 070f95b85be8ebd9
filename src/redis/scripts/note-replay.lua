-- Notes a chunk that replays dead letters as in flight and its ids as pending, unless a range delete is in flight.
-- KEYS: 1 inflight (zset)  2 pending (hash)  3 ranges (zset)  4 clock (hash)
-- ARGV: 1 chunk id  2 candidate epoch, kept if the clock has none  3.. id and stamp in turn
-- Returns: the epoch, or false when a range delete has not settled
-- The chunk's own stamps are old, so note it under the current time. Every later range delete then has a higher stamp and
-- waits for it, and its age is right.
if redis.call('ZCARD', KEYS[3]) > 0 then return false end
redis.call('HSETNX', KEYS[4], 'epoch', ARGV[2])
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.0f', time[1] * 1000000 + time[2] - 1), ARGV[1])
for i = 3, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end
return redis.call('HGET', KEYS[4], 'epoch')
