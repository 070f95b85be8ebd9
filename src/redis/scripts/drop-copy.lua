-- Drops one L2 value if it is still the one that was found to be corrupt, or no text at all.
-- KEYS: 1 item
-- ARGV: 1 the corrupt value
-- Returns: 1 dropped, 0 something else is there by now
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'table' or stored == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
