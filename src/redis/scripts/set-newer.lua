-- Stores one L2 value unless the stored one is as new or newer (content stamp first, then state stamp).
-- KEYS: 1 item
-- ARGV: 1 value, whose characters 3-18 and 19-34 are the two stamps, zero-padded  2 life in ms, 0 for no end
-- Returns: 1 the value is stored (now or before), 0 a newer one is
-- Zero-padded decimal text orders as its number does, so the 32 characters are compared as they are.
local stored = redis.call('GETRANGE', KEYS[1], 2, 33)
local given = string.sub(ARGV[1], 3, 34)
if stored ~= '' and stored > given then return 0 end
if stored == given then return 1 end
if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[1])
else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
