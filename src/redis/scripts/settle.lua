-- Announces one batch on the feed and clears the notes of what it settled, in one step: once a chunk is gone from inflight,
-- its outcomes are stored. Running it twice is harmless.
-- KEYS: 1 feed (stream)  2 inflight (zset)  3 pending (hash)  4 clock (hash)  5 ranges (zset)  6 cache (hash)  7 bytes (hash)
--       8 covers (hash)  9 settles (stream)  10.. outcome keys of chunks with exceptions
-- ARGV: 1 feed entries to keep  2 jobs (JSON)  3 changes (JSON)  4 milliseconds to keep outcomes
--       5 chunks  6 exceptions  7 generation in which the batch's copies were written, '' when there are none
--       then the chunk ids, then the exceptions (JSON, in the order of their keys),
--       at last the newest stamp of each id of the batch (JSON: the ids, the stamps): as two arguments an id it took a tenth of
--       all that a worker allocates
-- Returns: { the feed entry's id, 1 when the clock was raised above all stamps of Postgres since Redis was last empty };
--          nothing was done and the id is '' when readers use another generation by now

-- When a script's first write needs no memory, a full Redis lets it run. This one must: it frees memory.
redis.call('ZREM', KEYS[2], '')

local chunks, exceptions = tonumber(ARGV[5]), tonumber(ARGV[6])
if ARGV[7] ~= '' and redis.call('HGET', KEYS[6], 'generation') ~= ARGV[7] then return { '', 0 } end
local at = 8

local gone = {}
for i = 1, chunks do gone[i] = ARGV[at + i - 1] end
at = at + chunks

for i = 1, exceptions do redis.call('SET', KEYS[9 + i], ARGV[at + i - 1], 'PX', ARGV[4]) end
at = at + exceptions

-- A pending stamp that is newer than the settled one belongs to a later write: it stays.
local newest = cjson.decode(ARGV[at])
local ids, stamps = newest[1], newest[2]
for from = 1, #ids, 1000 do
  local to = math.min(from + 999, #ids)
  local current, settled = redis.call('HMGET', KEYS[3], unpack(ids, from, to)), {}
  for i = from, to do
    local noted = current[i - from + 1]
    if noted and tonumber(noted) <= stamps[i] then settled[#settled + 1] = ids[i] end
  end
  if #settled > 0 then redis.call('HDEL', KEYS[3], unpack(settled)) end
end

for from = 1, chunks, 1000 do
  local to = math.min(from + 999, chunks)
  redis.call('ZREM', KEYS[2], unpack(gone, from, to))
  if redis.call('ZREM', KEYS[5], unpack(gone, from, to)) > 0 then redis.call('HDEL', KEYS[8], unpack(gone, from, to)) end
  local freed = 0
  for _, bytes in ipairs(redis.call('HMGET', KEYS[7], unpack(gone, from, to))) do freed = freed + (bytes or 0) end
  if freed > 0 then
    redis.call('HDEL', KEYS[7], unpack(gone, from, to))
    redis.call('HINCRBY', KEYS[7], 'total', -freed)
  end
end
if chunks > 0 then redis.call('XADD', KEYS[9], 'MAXLEN', 1, '*', 's', '') end

-- Entries are numbered without gaps, so a reader knows at once when one is missing.
local number = redis.call('HINCRBY', KEYS[4], 'entries', 1)
local entry = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'n', number, 'jobs', ARGV[2], 'changes', ARGV[3])
return { entry, redis.call('HEXISTS', KEYS[4], 'raised') }
