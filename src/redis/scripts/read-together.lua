-- Runs reads in one step. MULTI would do, were it not that a full Redis refuses each command of it, also those that only read.
-- KEYS: all that the reads name
-- ARGV: 1 JSON: the reads, each a list of the command and its arguments (as text, 7,000 at most)
-- Returns: their replies
local replies = {}
for i, read in ipairs(cjson.decode(ARGV[1])) do replies[i] = redis.call(unpack(read)) end
return replies
