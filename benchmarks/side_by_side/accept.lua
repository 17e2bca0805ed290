-- wrk: posts the requests of a file, which all have one length, from a given one on.
--   wrk -s accept.lua URL -- FILE LENGTH FIRST
local file, length

function init(arguments)
  file = assert(io.open(arguments[1], "rb"))
  length = tonumber(arguments[2])
  file:seek("set", length * tonumber(arguments[3]))
end

function request()
  local read = file:read(length)
  if not read then
    wrk.thread:stop()
    file:seek("set", 0)
    read = file:read(length)
  end
  return read
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    "result %d %d %d\n", summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
