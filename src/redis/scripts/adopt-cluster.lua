-- Gives the generations of the L2 copies on a Redis Cluster, one for each bucket. A bucket whose server is another than before
-- may hold old copies, so it gets a new generation, and the feed tells the processes that still use the one before. A bucket
-- that has migrated keeps its generation, because its copies went with it: the server that had it is still a master, and the one
-- that has it was a master before.
-- KEYS: 1 cache (hash)  2 clock (hash)  3 feed (stream); with several lanes 1 alone, and follow-cache.lua tells each lane
-- ARGV: 1 JSON: the server of each bucket  2 JSON: all these servers  3 1 when other servers make a new generation, 0 to ask only
--       4 1 when a cache server never comes back older: then no bucket gets a new generation
-- Returns: { the newest generation, JSON: the generation of each bucket, 1, or 0 when they are for other servers }
local generation, known, masters, generations =
  unpack(redis.call('HMGET', KEYS[1], 'generation', 'owners', 'masters', 'generations'))
local owners = cjson.decode(ARGV[1])

local function setOf(list)
  local set = {}
  for _, member in ipairs(list) do set[member] = true end
  return set
end

local raised, isMoved = {}, masters ~= ARGV[2]
local byBucket = {}
if generation and known and generations then
  local before, isMaster, wasMaster = cjson.decode(known), setOf(cjson.decode(ARGV[2])), setOf(cjson.decode(masters))
  byBucket = cjson.decode(generations)
  for b = 1, #owners do
    if before[b] ~= owners[b] then
      isMoved = true
      if ARGV[4] ~= '1' and not (isMaster[before[b]] and wasMaster[owners[b]]) then raised[#raised + 1] = b end
    end
  end
else
  for b = 1, #owners do raised[b] = b end
end
if #raised == 0 and not isMoved then return { generation, generations, 1 } end
if #raised > 0 and generation and ARGV[3] == '0' then return { generation, '', 0 } end

-- As in settle.lua: a worker that starts may go on when Redis is full.
redis.call('HDEL', KEYS[1], 'server')
redis.call('HSET', KEYS[1], 'owners', ARGV[1], 'masters', ARGV[2])
if #raised == 0 then return { generation, generations, 1 } end

local made = nextGeneration(generation)
for _, b in ipairs(raised) do byBucket[b] = made end
local encoded = cjson.encode(byBucket)
redis.call('HSET', KEYS[1], 'generation', made, 'generations', encoded)
if generation and KEYS[2] then announce(KEYS[2], KEYS[3], made) end
return { made, encoded, 1 }
