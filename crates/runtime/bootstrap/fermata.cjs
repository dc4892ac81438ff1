// What a JavaScript function can ask of the platform that runs it.
"use strict";

const http = require("node:http");

/** The call was not started; `code` says why, as in the platform's list of errors. */
class Refused extends Error {
  constructor(code, message) {
    super(`${code}: ${message}`);
    this.name = "Refused";
    this.code = code;
  }
}

/** The function that was called failed; `code` says how, `detail` is what it threw. */
class Failed extends Refused {
  constructor(code, message, detail) {
    super(code, message);
    this.name = "Failed";
    this.detail = detail;
  }
}

/**
 * Calls another function and resolves to its answer. `options.class` states a price class; with
 * `options.wait === false` the call is queued, and its invocation's id is the answer. A Buffer is
 * sent as it is, anything else as JSON; an answer that is not JSON is a Buffer.
 */
async function invoke(name, payload, options = {}) {
  const headers = { "content-type": "application/json" };
  if (process.env.FERMATA_TOKEN) headers.authorization = `Bearer ${process.env.FERMATA_TOKEN}`;
  if (options.class) headers["x-fermata-class"] = options.class;
  if (options.wait === false) headers["x-fermata-async"] = "true";
  const body = Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload ?? null));
  const answer = await ask("POST", `/v1/functions/${name}/invoke`, headers, body);
  const content = decoded(answer.body);
  if (answer.status === 200) return content;
  if (answer.status === 202) return content.invocation;
  if (answer.status === 424) throw new Failed(content.code, content.detail, content.failure);
  throw new Refused(content.code, content.detail);
}

function decoded(body) {
  if (body.length === 0) return null;
  try {
    return JSON.parse(body.toString());
  } catch {
    return body;
  }
}

const agent = new http.Agent({ keepAlive: true });

/** One request to the platform's endpoint. */
function ask(method, path, headers = {}, body = Buffer.alloc(0)) {
  const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
  const options = { agent, host, port, method, path, headers: { ...headers, "content-length": body.length } };
  return new Promise((resolve, reject) => {
    const request = http.request(options, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(pieces) }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });
}

exports.Failed = Failed;
exports.Refused = Refused;
exports.invoke = invoke;
exports.ask = ask;
