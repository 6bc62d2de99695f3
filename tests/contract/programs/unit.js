// A unit in a second language: nothing but Seldon's internal paths. `node unit.js PORT NAME`.
const http = require("http");
const [port, name] = process.argv.slice(2);
let rewards = 0;

http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const text = Buffer.concat(parts).toString();
    const say = (code, body) => response.writeHead(code, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    if (request.method === "GET") return say(200, { name, rewards });
    const message = JSON.parse(text);
    if (request.url === "/send-feedback") return say(200, { meta: { tags: { rewards: (rewards += message.reward) } } });
    if (request.url === "/route") return say(200, [message.data.ndarray[0][0] > 0 ? 1 : 0]);
    if (request.url === "/aggregate") return say(200, { data: { ndarray: message.map((one) => one.data.ndarray) } });
    const sum = message.data.ndarray[0].reduce((left, right) => left + right, 0);
    say(200, { data: { ndarray: [sum] }, meta: { tags: { [name]: process.version } } });
  });
}).listen(Number(port), "127.0.0.1");
