-- Put before adopt-cache.lua, adopt-cluster.lua and follow-cache.lua.
-- Milliseconds since 1970 in base 36, and above the generation before. So none is given twice, even by a Redis that lost its
-- newest data.
local function nextGeneration(before)
  local digits = '0123456789abcdefghijklmnopqrstuvwxyz'
  local time = redis.call('TIME')
  local number = time[1] * 1000 + math.floor(time[2] / 1000)
  if before then number = math.max(number, tonumber(before, 36) + 1) end
  local made = ''
  while number > 0 do
    local digit = number % 36
    made = string.sub(digits, digit + 1, digit + 1) .. made
    number = math.floor(number / 36)
  end
  return made
end

-- Tells the readers of a lane.
local function announce(clock, feed, generation)
  local entry = redis.call('HINCRBY', clock, 'entries', 1)
  redis.call('XADD', feed, '*', 'n', entry, 'jobs', '[]', 'changes', '{"ids":[],"cv":[],"kinds":""}', 'cache', generation)
end
