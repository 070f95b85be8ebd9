-- Put before stamp.lua and set-newer.lua.
-- Used share of maxmemory; 0 when there is none. 6 µs, so it is asked once a call. A user that may not call INFO has no memory
-- limit; a full Redis answers OOM all the same.
local share
local function memoryShare()
  if share then return share end
  local info = redis.pcall('INFO', 'memory')
  local max = type(info) == 'string' and tonumber(info:match('\nmaxmemory:(%d+)') or '0') or 0
  share = max > 0 and tonumber(info:match('\nused_memory:(%d+)') or '0') / max or 0
  return share
end
