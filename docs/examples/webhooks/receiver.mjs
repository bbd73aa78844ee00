// Takes signed webhook calls on a port, with nothing but Node's own modules.
//
//     WEBHOOK_SECRET=whsec_... node receiver.mjs 8025

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const TOLERANCE = 5 * 60; // seconds: of an older call somebody may have kept a copy

// What a call says; an Error when it is not mailrelay's, or not of now.
// `body` is a Buffer with what came, byte for byte.
export function verify(secret, headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]{1,12}$/.test(timestamp)) throw new Error("there is no timestamp");
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) {
    throw new Error("the timestamp is not of now");
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // While a secret is replaced there are several: one that fits is enough.
  for (const given of (headers["webhook-signature"] ?? "").split(" ")) {
    if (!given.startsWith("v1,")) continue;
    const signature = Buffer.from(given.slice(3), "base64");
    if (signature.length === expected.length && timingSafeEqual(signature, expected)) {
      return JSON.parse(body);
    }
  }
  throw new Error("no signature fits");
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  let told;
  try {
    told = verify(process.env.WEBHOOK_SECRET, request.headers, Buffer.concat(parts));
  } catch (error) {
    response.writeHead(401).end(`${error.message}\n`);
    return;
  }
  // Here: if this id was seen before, do nothing.
  console.log(told.type, request.headers["webhook-id"]);
  // Any 2xx takes the call; after anything else it is made again.
  response.writeHead(204).end();
});
server.listen(Number(process.argv[2]), "127.0.0.1");
