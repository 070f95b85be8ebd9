-- Stores each L2 value unless the stored one is newer (content stamp first, then state stamp).
-- KEYS: the items, all of one bucket
-- ARGV: for each item its value, whose characters 3-18 and 19-34 are the two stamps, zero-padded, and its life in ms, 0 for
--       no end
-- Returns: the places (from 1) of those for which a newer one is stored; the others are stored, now or before
-- Zero-padded decimal text orders as its number does, so the 32 characters are compared as they are.
local refused = {}
for i = 1, #KEYS do
  local value, life = ARGV[2 * i - 1], ARGV[2 * i]
  local stored = redis.call('GETRANGE', KEYS[i], 2, 33)
  local given = string.sub(value, 3, 34)
  if stored ~= '' and stored > given then refused[#refused + 1] = i
  elseif stored ~= given then
    if life == '0' then redis.call('SET', KEYS[i], value)
    else redis.call('SET', KEYS[i], value, 'PX', life) end
  end
end
return refused
