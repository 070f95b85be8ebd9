-- Drops one L2 value if it is still the one that was found to be corrupt.
-- KEYS: 1 item
-- ARGV: 1 the corrupt value
-- Returns: 1 dropped, 0 something else is there by now
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
