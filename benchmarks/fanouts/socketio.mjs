// Socket.IO with its defaults and one room. Emits what it is told to by lines on its input:
// the number of events, and the text that each holds.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const server = createServer();
const io = new Server(server);
io.on("connection", (socket) => socket.join("room"));
createInterface({ input: process.stdin }).on("line", (line) => {
  const { count, text } = JSON.parse(line);
  for (let sent = 0; sent < count; sent += 1) io.to("room").emit("message:new", { text });
});
server.listen(Number(process.env.PORT), "127.0.0.1");
