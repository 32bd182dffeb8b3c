-- For wrk: posts the image IMAGE as a form, and prints one line of figures.
local file = io.open(os.getenv("IMAGE"), "rb")
local image = file:read("*all")
file:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=boundary"
wrk.body = '--boundary\r\nContent-Disposition: form-data; name="image_file"; filename="a.jpg"\r\n'
  .. "Content-Type: image/jpeg\r\n\r\n" .. image .. "\r\n--boundary--\r\n"

done = function(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.status + errors.read + errors.write + errors.timeout + errors.connect
  io.write(string.format("FIGURES %f %f %f %d\n", summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
