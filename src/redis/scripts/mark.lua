-- Sets fields of a hash that it does not have yet.
-- KEYS: 1 hash
-- ARGV: field and value in turn
-- Returns: the values that the fields have now
-- The first write needs no memory (see settle.lua), so a worker can start while Redis is full.
redis.call('HDEL', KEYS[1], '')
local values = {}
for i = 1, #ARGV, 2 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
  values[#values + 1] = redis.call('HGET', KEYS[1], ARGV[i])
end
return values
