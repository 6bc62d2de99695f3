// A unit in JavaScript: Seldon's internal paths over HTTP, and nothing but Node itself. Run by `node unit.js`.
//
// Seldon's operator, and ours, say in the environment what the unit is called and where it is to listen. Each path takes
// a message and answers one; a unit needs those that its type in the graph is asked:
//
//   MODEL /predict     TRANSFORMER /transform-input     OUTPUT_TRANSFORMER /transform-output
//   ROUTER /route      COMBINER /aggregate              with method SEND_FEEDBACK also /send-feedback
const http = require("http");

const { PREDICTIVE_UNIT_ID: name = "unit", PREDICTIVE_UNIT_HTTP_SERVICE_PORT: port = "9000" } = process.env;
// A real pod has all its addresses to itself; on one machine (127.x.y.z) each pod has an address of its own.
const host = (process.env.POD_IP || "127.").startsWith("127.") ? process.env.POD_IP || "127.0.0.1" : "0.0.0.0";
let rewards = 0;

const units = {
  "/predict": ({ data }) => ({ data: { ndarray: [data.ndarray[0].reduce((sum, one) => sum + one, 0)] }, meta: { tags: { [name]: "js" } } }),
  "/route": ({ data }) => [data.ndarray[0][0] > 0 ? 1 : 0], // the number of the branch; -1 is all of them
  "/aggregate": (messages) => ({ data: { ndarray: messages.map(({ data }) => data.ndarray) } }),
  "/send-feedback": ({ reward }) => ({ meta: { tags: { rewards: (rewards += reward) } } }),
};

const server = http.createServer(async (request, response) => {
  const say = (code, body) => response.writeHead(code, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  if (request.method === "GET") return say(200, { name, rewards }); // /metadata, /health/status
  const unit = units[request.url];
  try {
    const parts = await request.toArray();
    if (unit) return say(200, unit(JSON.parse(Buffer.concat(parts))));
    say(404, { status: { status: "FAILURE", code: 404, info: `${name} has no ${request.url}` } });
  } catch (error) {
    // What was sent cannot be used: the client is told so, with these words, whatever the graph.
    say(400, { status: { status: "FAILURE", code: 400, info: `${name}: ${error.message}` } });
  }
});
server.listen(Number(port), host);
process.on("SIGTERM", () => server.close()); // what is being answered is answered
