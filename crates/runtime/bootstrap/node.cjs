// Runs a JavaScript handler: asks the platform what to run, imports it, serves invocation after
// invocation. Until it is told what to run it is a generic interpreter, ready for any function.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { ask } = require("/var/node_modules/fermata/index.cjs");

const RUNTIME = "/2018-06-01/runtime";

function describe(error) {
  const isError = error instanceof Error;
  return {
    errorType: isError ? error.name : typeof error,
    errorMessage: isError ? error.message : String(error),
    stackTrace: isError && error.stack ? error.stack.split("\n").slice(1).map((line) => line.trim()) : [],
  };
}

/** The handler `module.function`; the module is a file `.js`, `.mjs` or `.cjs` of the package. */
async function load(name) {
  const dot = name.lastIndexOf(".");
  if (dot < 1) throw new Error(`the handler "${name}" is not of the form module.function`);
  const base = path.join(process.env.LAMBDA_TASK_ROOT, name.slice(0, dot));
  const file = [".js", ".mjs", ".cjs"].map((end) => base + end).find((file) => fs.existsSync(file));
  if (!file) throw new Error(`the package has no ${name.slice(0, dot)}.js, .mjs or .cjs`);
  const module = await import(pathToFileURL(file));
  const handler = module[name.slice(dot + 1)] ?? module.default?.[name.slice(dot + 1)];
  if (typeof handler !== "function") throw new Error(`${file} exports no function ${name.slice(dot + 1)}`);
  return handler;
}

function context(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE ?? "0",
    logGroupName: `/aws/lambda/${process.env.AWS_LAMBDA_FUNCTION_NAME}`,
    logStreamName: headers["lambda-runtime-aws-request-id"],
    fermataClass: headers["fermata-class"],
    traceparent: headers.traceparent,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
}

/** A handler returns a value or a promise, or takes a third argument and calls it. */
function call(handler, event, context) {
  if (handler.length < 3) return handler(event, context);
  return new Promise((resolve, reject) => {
    const callback = (error, answer) => (error ? reject(error) : resolve(answer));
    const result = handler(event, context, callback);
    if (typeof result?.then === "function") result.then(resolve, reject);
  });
}

async function serve(handler) {
  const next = await ask("GET", `${RUNTIME}/invocation/next`);
  const base = `${RUNTIME}/invocation/${next.headers["lambda-runtime-aws-request-id"]}`;
  process.env.FERMATA_TOKEN = next.headers["fermata-token"];
  let body;
  let end = "response";
  let headers = {};
  try {
    const event = next.body.length ? JSON.parse(next.body.toString()) : null;
    const answer = await call(handler, event, context(next.headers));
    body = JSON.stringify(answer === undefined ? null : answer);
    if (body === undefined) throw new TypeError("the answer is not JSON");
  } catch (error) {
    console.error(error);
    [end, body] = ["error", JSON.stringify(describe(error))];
    headers = { "lambda-runtime-function-error-type": describe(error).errorType };
  }
  await ask("POST", `${base}/${end}`, headers, Buffer.from(body));
}

async function main() {
  const assignment = JSON.parse((await ask("GET", "/fermata/assignment")).body.toString());
  Object.assign(process.env, assignment.environment);
  let handler;
  try {
    handler = await load(process.env._HANDLER);
  } catch (error) {
    console.error(error);
    await ask("POST", `${RUNTIME}/init/error`, {}, Buffer.from(JSON.stringify(describe(error))));
    process.exit(1);
  }
  for (;;) await serve(handler);
}

main();
