-- Gives the generation of the L2 copies for one cache server. Another server than before may hold old copies, so it gets a
-- generation of its own, and the feed tells the processes that still use the one before.
-- KEYS: 1 cache (hash), and of the only lane, if there is only one: 2 clock (hash)  3 feed (stream)
-- ARGV: 1 run id of the server  2 1 when another server makes a new generation, 0 to ask only
--       3 1 when a cache server never comes back older: then every server has the same generation
-- Returns: { generation, run id of the server it is for }; both '' when there is none yet and none was made
local generation, server = unpack(redis.call('HMGET', KEYS[1], 'generation', 'server'))
if generation and (server == ARGV[1] or ARGV[3] == '1') then return { generation, ARGV[1] } end
if ARGV[2] == '0' then return { generation or '', server or '' } end

local made = nextGeneration(generation)
-- The fields of a cluster (adopt-cluster.lua) go. As in settle.lua: a worker that starts may go on when Redis is full.
redis.call('HDEL', KEYS[1], 'owners', 'masters', 'generations')
redis.call('HSET', KEYS[1], 'generation', made, 'server', ARGV[1])
if generation and KEYS[2] then announce(KEYS[2], KEYS[3], made) end
return { made, ARGV[1] }
