-- Drops one L2 value if it is still the corrupt one, or of another type than string.
-- KEYS: 1 item
-- ARGV: 1 the corrupt value
-- Returns: 1 dropped, 0 another value is there by now
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'table' or stored == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
