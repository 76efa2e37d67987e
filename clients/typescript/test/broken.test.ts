// Owns the proof that a call whose connection breaks, in whichever way, is made again with its key.
import assert from "node:assert/strict";
import { createServer, constants, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import { LedgerClient, PlaceHoldResponseSchema, create } from "@defter/client";

const HEADERS = { ":status": 200, "content-type": "application/grpc" };

/** A message as it travels: a byte that says uncompressed, its length, and itself. */
function framed(bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function answer(stream: ServerHttp2Stream): void {
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(
    framed(toBinary(PlaceHoldResponseSchema, create(PlaceHoldResponseSchema, { hold: { holdId: "hold_1" } }))),
  );
}

const BREAKS: Record<string, (stream: ServerHttp2Stream) => unknown> = {
  "resets the stream without an error": (stream) => stream.close(constants.NGHTTP2_NO_ERROR),
  "resets the stream for an error": (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
  "cancels the stream": (stream) => stream.close(constants.NGHTTP2_CANCEL),
  "refuses the stream": (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
  "ends without a status": (stream) => {
    stream.respond(HEADERS);
    stream.end();
  },
  "ends the session": (stream) => stream.session?.destroy(),
  "ends the session for an error": (stream) =>
    stream.session?.destroy(new Error("gone"), constants.NGHTTP2_INTERNAL_ERROR),
  "closes the connection": (stream) => (stream.session?.socket as Socket | undefined)?.destroySoon(),
  "breaks off in the middle of the answer": (stream) => {
    stream.respond(HEADERS);
    stream.write(Buffer.from([0, 0, 0, 0, 99, 1]), () => stream.session?.destroy());
  },
};

for (const [name, breakOff] of Object.entries(BREAKS)) {
  test(`a call is made again, with its key, when the server ${name}`, async () => {
    const bodies: Buffer[] = [];
    const server = createServer();
    server.on("session", (session) => session.on("error", () => {}));
    server.on("sessionError", () => {});
    server.on("stream", (stream) => {
      stream.on("error", () => {});
      stream.once("data", (body: Buffer) => {
        bodies.push(body);
        if (bodies.length <= 2) breakOff(stream);
        else answer(stream);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const ledger = new LedgerClient(`127.0.0.1:${(server.address() as AddressInfo).port}`, { timeoutMs: 60_000 });
    try {
      const { response, key } = await ledger.holds.placeHold({ debitAccountId: "a" });
      assert.equal(response.hold?.holdId, "hold_1");
      assert.equal(bodies.length, 3);
      assert.ok(bodies.every((body) => body.equals(bodies[0]!) && body.includes(key)));
    } finally {
      ledger.close();
      server.close();
    }
  });
}
