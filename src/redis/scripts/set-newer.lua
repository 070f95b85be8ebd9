-- Stores each L2 value unless the stored one is newer (content stamp first, then state stamp). Stores none when the look at
-- Postgres that they come from is too old, or when the bucket has lost copies since: a lost copy may have been newer.
-- KEYS: 1 epoch of the bucket  2.. the items, all of that bucket
-- ARGV: 1 time of the look, in ms of this server's clock  2 ms that a look is good for  3 the bucket's epoch at the look
--       4 an epoch that no other call gives  5 whether most items are expected to be absent (1 or 0)
--       then for each item its value, whose characters 3-18 and 19-34 are the two stamps, zero-padded, and its life in ms,
--       0 for no end (not used when a copy of the same content is there: that copy keeps its life)
-- Returns: { this server's time in ms, the bucket's epoch, 1 or 0 when nothing was stored,
--            places (from 1) of those for which a newer one is stored; the others are stored, now or before }
-- Zero-padded decimal text sorts as its number does, so compare the 32 characters as text.
local call, pcall = redis.call, redis.pcall
local goodFor = tonumber(ARGV[2])
local likelyAbsent = ARGV[5] == '1'
local shortLived = false

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Another program may have stored a value of another type.
local epoch = pcall('GET', KEYS[1])
if type(epoch) ~= 'string' then
  epoch = ARGV[4]
  call('SET', KEYS[1], epoch)
end
if epoch ~= ARGV[3] or now >= ARGV[1] + goodFor then return { now, epoch, 0 } end

local function set(key, value, life, ...)
  if life == '0' then return call('SET', key, value, ...) end
  if tonumber(life) < goodFor then shortLived = true end
  return call('SET', key, value, 'PX', life, ...)
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

local reply = { now, epoch, 1 }
for i = 2, #KEYS do
  local key, value, life = KEYS[i], ARGV[2 * i + 2], ARGV[2 * i + 3]
  if not (likelyAbsent and set(key, value, life, 'NX')) then
    local head = pcall('GETRANGE', key, 1, 33)
    local stored = type(head) == 'string' and string.sub(head, 2)
    local given = string.sub(value, 3, 34)
    -- What is no copy of ours is written over: it would look newer for ever.
    if not stored then set(key, value, life)
    elseif stored > given and #stored == 32 and not string.find(stored, '%D') then reply[#reply + 1] = i - 1
    elseif stored ~= given then
      if isContent(head) and isContent(string.sub(value, 2)) and string.sub(stored, 1, 16) == string.sub(given, 1, 16) then
        keepLife(key, value)
      else
        set(key, value, life)
      end
    end
  end
end
-- A copy that dies before older looks do could be followed by an older one.
if shortLived then
  reply[2] = ARGV[4]
  call('SET', KEYS[1], ARGV[4])
end
return reply
