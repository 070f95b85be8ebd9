-- Notes a chunk with rows of another deployment as in flight and its ids as pending, and raises the clock to the newest of its
-- stamps. So a write that is made here after the rows were seen wins over them.
-- KEYS: 1 inflight (zset)  2 pending (hash)  3 clock (hash)
-- ARGV: 1 chunk id  2 candidate epoch, kept if the clock has none  3 newest stamp  4 µs that it may be ahead of this server
--       5.. id and stamp in turn
-- Returns: { the epoch, '' when the stamps are too far ahead and nothing was done; this server's time in µs }
local function text(stamp) return string.format('%.0f', stamp) end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[3]) > now + ARGV[4] then return { '', text(now) } end

redis.call('HSETNX', KEYS[3], 'epoch', ARGV[2])
local last = redis.call('HGET', KEYS[3], 'last')
if tonumber(ARGV[3]) > tonumber(last or '0') then redis.call('HSET', KEYS[3], 'last', ARGV[3]) end
-- Noted under the current time, as a replay is (note-replay.lua): later range deletes wait for it, and its age is right.
redis.call('ZADD', KEYS[1], text(now - 1), ARGV[1])
for i = 5, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end
return { redis.call('HGET', KEYS[3], 'epoch'), text(now) }
