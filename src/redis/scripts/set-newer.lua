-- Stores each L2 value unless the stored one is newer: content stamp first, then state stamp, and of equal stamps what
-- schema/register-order.ts says. Stores none of a bucket when the
-- look at Postgres that they come from is too old, or when the bucket has lost copies since: a lost copy may have been newer.
-- KEYS: the epochs of the buckets, then the items, one bucket's after the other's
-- ARGV: 1 time of the look, in ms of this server's clock  2 ms that a look is good for  3 an epoch that no other call gives
--       4 whether most items are expected to be absent (1 or 0)
--       5 share of maxmemory from which nothing is stored, 0 for no such limit  6 number of buckets
--       7 life of the items in ms, 0 for no end (JSON: one for all, or an array); not used when a copy of the same content is
--       there: that copy keeps its life
--       then for each bucket its epoch at the look and the number of its items
--       then the items' values, whose characters 3-18 and 19-34 are the two stamps, zero-padded
-- Answers OOM when the copies have their share of the memory.
-- Returns: { this server's time in ms,
--            { place (from 1), epoch, 1 or 0 when nothing was stored } of each bucket whose epoch is another or whose look is old,
--            places (from 1) of those items for which a newer one is stored; the others are stored, now or before }
-- Zero-padded decimal text sorts as its number does, so compare the 32 characters as text. Characters 36-67 are the digest, which
-- is equal for equal registers, 68-131 the hash of the content, 132-133 the length of the state, then the state.
local call, pcall = redis.call, redis.pcall
local goodFor = tonumber(ARGV[2])
local newEpoch = ARGV[3]
local likelyAbsent = ARGV[4] == '1'
local maxShare = tonumber(ARGV[5])
local buckets = tonumber(ARGV[6])
local lives = cjson.decode(ARGV[7])
local shortLived = false

if maxShare > 0 and memoryShare() >= maxShare then
  return redis.error_reply('OOM the L2 copies have their share of the memory')
end

local function set(key, value, life, ...)
  if life == 0 then return call('SET', key, value, ...) end
  if life < goodFor then shortLived = true end
  return call('SET', key, value, 'PX', string.format('%.0f', life), ...)
end

local function isContent(head)
  return string.find(head, '^[jb]') ~= nil
end

-- Only the state is new: the content was given its life when it was written.
local function keepLife(key, value)
  call('SET', key, value, 'KEEPTTL')
  local life = call('PTTL', key)
  if life >= 0 and life < goodFor then shortLived = true end
end

-- Text comparison in Lua goes by the server's locale, so compare bytes.
local function isLarger(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

-- The state of a value, with what follows it cut to what a state can take. Its length counts characters, not bytes.
local function stateOf(value)
  local characters, at = tonumber(string.sub(value, 132, 133)) or 0, 134
  for _ = 1, characters do
    local byte = string.byte(value, at)
    if not byte then break end
    at = at + (byte < 128 and 1 or byte < 224 and 2 or byte < 240 and 3 or 4)
  end
  return string.sub(value, 134, at - 1)
end

-- Whether the stored value wins over a given one of the same stamps.
local function winsTie(stored, given)
  local isDeleted = string.sub(stored, 2, 2) == 'd'
  if isDeleted ~= (string.sub(given, 2, 2) == 'd') then return isDeleted end
  local hash, other = string.sub(stored, 68, 131), string.sub(given, 68, 131)
  if hash ~= other then return isLarger(hash, other) end
  return isLarger(stateOf(stored), stateOf(given))
end

-- Returns whether a newer one is stored.
local function store(key, value, life)
  if likelyAbsent and set(key, value, life, 'NX') then return false end
  local head = pcall('GETRANGE', key, 1, 66)
  local stored = type(head) == 'string' and string.sub(head, 2, 33)
  local given = string.sub(value, 3, 34)
  -- What is no copy of ours is written over: it would look newer for ever.
  if not stored then set(key, value, life)
  elseif stored > given and #stored == 32 and not string.find(stored, '%D') then return true
  elseif stored == given and string.sub(head, 35) ~= string.sub(value, 36, 67) then
    if winsTie(call('GETRANGE', key, 0, 389), value) then return true end
    set(key, value, life)
  elseif stored ~= given then
    if isContent(head) and isContent(string.sub(value, 2)) and string.sub(stored, 1, 16) == string.sub(given, 1, 16) then
      keepLife(key, value)
    else
      set(key, value, life)
    end
  end
  return false
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local isOld = now >= ARGV[1] + goodFor
-- Nil where another program has stored a value of another type.
local epochs = call('MGET', unpack(KEYS, 1, buckets))
local changed, newer = {}, {}
local before = 0
for b = 1, buckets do
  local epoch, count = epochs[b], tonumber(ARGV[7 + 2 * b])
  local seen = ARGV[6 + 2 * b]
  if not epoch then
    epoch = newEpoch
    call('SET', KEYS[b], epoch)
  end
  local taken = not isOld and epoch == seen
  if taken then
    shortLived = false
    for i = before + 1, before + count do
      local life = type(lives) == 'table' and lives[i] or lives
      if store(KEYS[buckets + i], ARGV[7 + 2 * buckets + i], life) then newer[#newer + 1] = i end
    end
    -- A copy that dies before older looks do could be followed by an older one.
    if shortLived then
      epoch = newEpoch
      call('SET', KEYS[b], epoch)
    end
  end
  if not taken or epoch ~= seen then changed[#changed + 1] = { b, epoch, taken and 1 or 0 } end
  before = before + count
end
return { now, changed, newer }
