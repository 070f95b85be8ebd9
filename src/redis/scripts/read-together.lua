-- Runs reads in one step. It replaces MULTI, because a full Redis refuses every command in a MULTI, also reads.
-- KEYS: every key of the reads
-- ARGV: 1 JSON: the reads, each a list of the command and its arguments (as text, 7,000 at most)
-- Returns: their replies
local replies = {}
for i, read in ipairs(cjson.decode(ARGV[1])) do replies[i] = redis.call(unpack(read)) end
return replies
