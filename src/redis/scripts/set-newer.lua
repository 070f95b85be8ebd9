-- Stores each L2 value unless the stored one is newer (content stamp first, then state stamp).
-- KEYS: the items, all of one bucket
-- ARGV: 1 whether most are expected to be absent (1 or 0)
--       then for each item its value, whose characters 3-18 and 19-34 are the two stamps, zero-padded, and its life in ms,
--       0 for no end
-- Returns: the places (from 1) of those for which a newer one is stored; the others are stored, now or before
-- Zero-padded decimal text orders as its number does, so the 32 characters are compared as they are.
local call = redis.call
local likelyAbsent = ARGV[1] == '1'
local refused = {}

local function set(key, value, life, ...)
  if life == '0' then return call('SET', key, value, ...) end
  return call('SET', key, value, 'PX', life, ...)
end

for i = 1, #KEYS do
  local key, value, life = KEYS[i], ARGV[2 * i], ARGV[2 * i + 1]
  if not (likelyAbsent and set(key, value, life, 'NX')) then
    local stored = call('GETRANGE', key, 2, 33)
    local given = string.sub(value, 3, 34)
    if stored ~= '' and stored > given then refused[#refused + 1] = i
    elseif stored ~= given then set(key, value, life) end
  end
end
return refused
