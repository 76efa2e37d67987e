// Owns the proof that a call keeps its key, is tried again only where that is safe, and says what became of it.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import {
  AccountService,
  HoldService,
  JournalService,
  LedgerClient,
  LedgerError,
  PlaceHoldRequestSchema,
  PostingService,
  ReconciliationService,
  SettlementService,
  create,
  isLedgerError,
  newKey,
  type ClientOptions,
  type Code,
  type GetBalanceRequest,
  type PlaceHoldRequest,
} from "@defter/client";
import { status } from "@grpc/grpc-js";
import { Failure, serve, type Handlers } from "./server.js";

const SERVICES = {
  AccountService,
  HoldService,
  JournalService,
  PostingService,
  ReconciliationService,
  SettlementService,
};
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const ends: (() => void)[] = [];

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function ledgerOf(handlers: Handlers, options: ClientOptions = {}): Promise<LedgerClient> {
  const server = await serve(SERVICES, handlers);
  const ledger = new LedgerClient(server.target, options);
  ends.push(
    () => ledger.close(),
    () => server.stop(),
  );
  return ledger;
}

async function errorOf(call: Promise<unknown>): Promise<LedgerError> {
  const error: unknown = await call.then(
    () => assert.fail("the call was answered"),
    (failure: unknown) => failure,
  );
  assert.ok(isLedgerError(error), String(error));
  return error;
}

/** Fails with one failure after the other, and answers then. */
function failing(failures: Failure[], seen: PlaceHoldRequest[] = []): Handlers {
  return {
    PlaceHold: (request: PlaceHoldRequest) => {
      seen.push(request);
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return { hold: { holdId: "hold_1" } };
    },
  };
}

test("a key is made before the first try and is the same at all tries", async () => {
  const seen: PlaceHoldRequest[] = [];
  const away = [new Failure("UNAVAILABLE"), new Failure("RESOURCE_EXHAUSTED", { reason: "LANE_FULL", retryMs: 1 })];
  const ledger = await ledgerOf(failing(away, seen));
  const { response, key, replayed } = await ledger.holds.placeHold({ debitAccountId: "a", amountMinor: 5n });
  assert.match(key, ULID);
  assert.deepEqual(
    seen.map((each) => each.idempotencyKey),
    [key, key, key],
  );
  assert.deepEqual(
    seen.map((each) => each.amountMinor),
    [5n, 5n, 5n],
  );
  assert.equal(response.hold?.holdId, "hold_1");
  assert.equal(replayed, false);
});

for (const [given, options] of [
  [{ idempotencyKey: "of-the-request" }, {}],
  [{}, { key: "of-the-request" }],
  [{ idempotencyKey: "of-the-request" }, { key: "of-the-request" }],
] as const) {
  test(`a key that is given is used: ${JSON.stringify([given, options])}`, async () => {
    const seen: PlaceHoldRequest[] = [];
    const ledger = await ledgerOf(failing([], seen));
    assert.equal((await ledger.holds.placeHold(given, options)).key, "of-the-request");
    assert.equal(seen[0]?.idempotencyKey, "of-the-request");
  });
}

test("two keys are refused before anything is sent", async () => {
  const seen: PlaceHoldRequest[] = [];
  const ledger = await ledgerOf(failing([], seen));
  await assert.rejects(ledger.holds.placeHold({ idempotencyKey: "a" }, { key: "b" }), TypeError);
  assert.equal(seen.length, 0);
});

test("the caller's message is not changed, and the client's tenant stands in for an empty one", async () => {
  const seen: PlaceHoldRequest[] = [];
  const ledger = await ledgerOf(failing([], seen), { tenantId: "own" });
  const request = create(PlaceHoldRequestSchema, { debitAccountId: "a" });
  await ledger.holds.placeHold(request);
  await ledger.holds.placeHold({ tenantId: "other" });
  assert.deepEqual([request.tenantId, request.idempotencyKey], ["", ""]);
  assert.deepEqual(
    seen.map((each) => each.tenantId),
    ["own", "other"],
  );
});

test("an answer says that its outcome was decided before", async () => {
  const ledger = await ledgerOf({
    PlaceHold: (_: PlaceHoldRequest, { trailers }: { trailers: { set(name: string, value: string): void } }) => {
      trailers.set("idempotent-replayed", "true");
      return {};
    },
  });
  assert.equal((await ledger.holds.placeHold({})).replayed, true);
});

test("who asks about a key is not keyed", async () => {
  const ledger = await ledgerOf({
    GetOutcome: (request: { idempotencyKey: string }) => ({
      entry: { sequence: request.idempotencyKey === "" ? 1n : 2n },
    }),
  });
  const response = await ledger.journal.getOutcome({ method: "PlaceHold", idempotencyKey: "" });
  assert.equal(response.entry?.sequence, 1n);
});

for (const code of ["INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED"] as const) {
  test(`${code} is not tried again and leaves the outcome open`, async () => {
    const seen: PlaceHoldRequest[] = [];
    const ledger = await ledgerOf(failing([new Failure(code)], seen));
    const error = await errorOf(ledger.holds.placeHold({}));
    assert.deepEqual([error.code, error.outcomeUnknown, error.retryable], [code, true, false]);
    assert.equal(seen.length, 1);
    assert.equal(error.key, seen[0]?.idempotencyKey);
  });
}

for (const code of ["RESOURCE_EXHAUSTED", "ABORTED", "OUT_OF_RANGE", "INTERNAL", "FAILED_PRECONDITION"] as const) {
  test(`${code} is tried again where the server asks for it, and only there`, async () => {
    const seen: PlaceHoldRequest[] = [];
    const ledger = await ledgerOf(failing([new Failure(code, { retryMs: 1 }), new Failure(code)], seen));
    assert.equal((await errorOf(ledger.holds.placeHold({}))).code, code);
    assert.equal(seen.length, 2);
  });
}

test("a delay behind the deadline is not waited for", async () => {
  const seen: PlaceHoldRequest[] = [];
  const ledger = await ledgerOf(
    failing([new Failure("RESOURCE_EXHAUSTED", { reason: "LANE_FULL", retryMs: 3_600_000 })], seen),
  );
  const error = await errorOf(ledger.holds.placeHold({}));
  assert.deepEqual(
    [error.kind, error.retryDelayMs, error.retryable, error.outcomeUnknown],
    ["retry", 3_600_000, true, false],
  );
  assert.equal(seen.length, 1);
});

test("the last error is thrown when the time is up, and a keyed call may have taken effect", async () => {
  const ledger = await ledgerOf({
    PlaceHold: () => {
      throw new Failure("UNAVAILABLE", { message: "away" });
    },
    GetBalance: () => {
      throw new Failure("UNAVAILABLE");
    },
  });
  const keyed = await errorOf(ledger.holds.placeHold({}, { timeoutMs: 300 }));
  const read = await errorOf(ledger.accounts.getBalance({}, { timeoutMs: 300 }));
  assert.ok(["UNAVAILABLE", "DEADLINE_EXCEEDED"].includes(keyed.code));
  assert.equal(keyed.outcomeUnknown, true);
  assert.equal(read.outcomeUnknown, read.code === "DEADLINE_EXCEEDED");
});

const LOST = new Failure("UNAVAILABLE");
const DENIED = new Failure("PERMISSION_DENIED", { reason: "PERMISSION_MISSING" });
for (const [name, first, last, unknown] of [
  ["decided", LOST, new Failure("FAILED_PRECONDITION", { reason: "INSUFFICIENT_FUNDS" }), false],
  ["reused", LOST, new Failure("ALREADY_EXISTS", { reason: "IDEMPOTENCY_KEY_REUSED" }), false],
  ["access", LOST, DENIED, true],
  ["full at last", LOST, new Failure("RESOURCE_EXHAUSTED", { reason: "LANE_FULL", retryMs: 3_600_000 }), true],
  ["a refusal that decides nothing", LOST, new Failure("NOT_FOUND", { reason: "TENANT_NOT_FOUND" }), true],
  ["nothing", LOST, new Failure("NOT_FOUND"), true],
  ["newer", LOST, new Failure("FAILED_PRECONDITION", { reason: "OF_TOMORROW" }), true],
  ["store", new Failure("UNAVAILABLE", { reason: "STORE_UNAVAILABLE" }), DENIED, true],
  ["nothing begun", new Failure("UNAVAILABLE", { reason: "SHUTTING_DOWN" }), DENIED, false],
  ["full", new Failure("RESOURCE_EXHAUSTED", { reason: "LANE_FULL", retryMs: 1 }), DENIED, false],
] as const) {
  test(`the outcome is ${unknown ? "open" : "known"} after two tries: ${name}`, async () => {
    const ledger = await ledgerOf(failing([first, last]));
    assert.equal((await errorOf(ledger.holds.placeHold({}))).outcomeUnknown, unknown);
  });
}

test("each code leaves open what it says nothing of, and no other does", async () => {
  const open = ["UNKNOWN", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"];
  for (const code of Object.keys(status).filter((each) => !/^(\d+|OK|UNAVAILABLE)$/.test(each))) {
    const ledger = await ledgerOf(failing([new Failure(code as Code)]));
    assert.equal((await errorOf(ledger.holds.placeHold({}))).outcomeUnknown, open.includes(code), code);
  }
});

test("a batch whose server stays away may have taken effect, and tells the keys of its items", async () => {
  const ledger = await ledgerOf({
    BatchPostTransactions: () => {
      throw new Failure("UNAVAILABLE", { retryMs: 3_600_000 });
    },
  });
  const items = [{ idempotencyKey: "a" }, { idempotencyKey: "b" }];
  const error = await errorOf(ledger.postings.batchPostTransactions({ items }));
  assert.deepEqual([error.outcomeUnknown, error.keys, error.kind], [true, ["a", "b"], "retry"]);
});

for (const [name, use] of Object.entries<(ledger: LedgerClient) => void>({
  "the client is closed": (ledger) => ledger.close(),
  "the trace can't be told": () => (traceFails = true),
})) {
  test(`a call that is not made again, since ${name}, keeps its key and what is not known`, async () => {
    traceFails = false;
    const tell = (): undefined => {
      if (traceFails) throw new RangeError("no trace");
    };
    const ledger = await ledgerOf(
      {
        PlaceHold: () => {
          use(ledger);
          throw new Failure("UNAVAILABLE");
        },
      },
      { traceparent: tell },
    );
    const error = await errorOf(ledger.holds.placeHold({}, { key: "mine" }));
    assert.deepEqual([error.key, error.outcomeUnknown, error.kind], ["mine", true, "fault"]);
  });
}
let traceFails = false;

test("a timeout that is no number is refused before anything is sent", async () => {
  const seen: PlaceHoldRequest[] = [];
  const ledger = await ledgerOf(failing([], seen));
  await assert.rejects(ledger.holds.placeHold({}, { timeoutMs: NaN }), TypeError);
  await assert.rejects(async () => {
    for await (const _ of ledger.journal.verifyJournal({}, { timeoutMs: NaN }));
  }, TypeError);
  assert.throws(() => new LedgerClient("localhost:1", { timeoutMs: NaN }), TypeError);
  assert.equal(seen.length, 0);
});

for (const timeoutMs of [3e9, 1e17, Number.MAX_VALUE, Infinity]) {
  test(`a timeout of ${timeoutMs} ms is one`, async () => {
    const ledger = await ledgerOf(failing([]), { timeoutMs });
    assert.equal((await ledger.holds.placeHold({})).response.hold?.holdId, "hold_1");
  });
}

test("a text that is no Unicode is refused, and not sent as another one", async () => {
  const seen: PlaceHoldRequest[] = [];
  const ledger = await ledgerOf(failing([], seen));
  await assert.rejects(ledger.holds.placeHold({ debitAccountId: "a\ud800" }), TypeError);
  await assert.rejects(ledger.holds.placeHold({}, { key: "a\udc00" }), TypeError);
  assert.equal(seen.length, 0);
  await ledger.holds.placeHold({ debitAccountId: "a\ufffd\ud83d\ude00" });
  assert.equal(seen[0]?.debitAccountId, "a\ufffd\ud83d\ude00");
});

test("a call that is given up ends at once, with its key", async () => {
  const controller = new AbortController();
  const ledger = await ledgerOf({
    PlaceHold: () => {
      controller.abort(new Error("the player has left"));
      return new Promise(() => {});
    },
  });
  const error = await errorOf(ledger.holds.placeHold({}, { key: "mine", signal: controller.signal }));
  assert.deepEqual([error.code, error.key, error.outcomeUnknown, error.kind], ["CANCELLED", "mine", true, "fault"]);
  assert.equal((error.cause as Error).message, "the player has left");
  assert.equal((await errorOf(ledger.holds.placeHold({}, { signal: controller.signal }))).code, "CANCELLED");
});

test("metadata and the trace travel with a call", async () => {
  const seen: unknown[] = [];
  const ledger = await ledgerOf(
    {
      GetBalance: (_: GetBalanceRequest, { metadata }: { metadata: { get(name: string): unknown[] } }) => {
        seen.push(...["traceparent", "x-request-id", "x-own"].map((name) => metadata.get(name)[0]));
        return {};
      },
    },
    { traceparent: () => "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", metadata: { "x-own": "1" } },
  );
  await ledger.accounts.getBalance({}, { metadata: { "x-request-id": "r-1" } });
  assert.deepEqual(seen, ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "r-1", "1"]);
});

test("a stream of answers is begun again before its first, under one key, and never after", async () => {
  const seen: string[] = [];
  const ledger = await ledgerOf({
    RunReconciliation: (request: { idempotencyKey: string }, call: { write(message: object): void }) => {
      seen.push(request.idempotencyKey);
      if (seen.length < 3) throw new Failure("UNAVAILABLE");
      call.write({});
      throw new Failure("UNAVAILABLE");
    },
  });
  const stream = ledger.reconciliation.runReconciliation({ provider: "mock" });
  const found: unknown[] = [];
  const error = await errorOf(
    (async () => {
      for await (const each of stream) found.push(each);
    })(),
  );
  assert.deepEqual([error.code, error.key, found.length], ["UNAVAILABLE", stream.key, 1]);
  assert.deepEqual(seen, [stream.key, stream.key, stream.key]);
});

test("a call has a deadline, and a stream has none but what its caller gives", async () => {
  const deadlines: number[] = [];
  type Dated = { getDeadline(): Date | number };
  const tell = (call: Dated): void => void deadlines.push(Number(call.getDeadline()));
  const ledger = await ledgerOf({
    GetBalance: (_: GetBalanceRequest, { call }: { call: Dated }) => {
      tell(call);
      return {};
    },
    VerifyJournal: (_: object, call: Dated) => tell(call),
    ImportSettlementReport: async (_: object, { call }: { call: Dated }) => {
      tell(call);
      return {};
    },
  });
  await ledger.accounts.getBalance({});
  for await (const _ of ledger.journal.verifyJournal({}));
  await ledger.settlements.importSettlementReport([]);
  for await (const _ of ledger.journal.verifyJournal({}, { timeoutMs: 60_000 }));
  assert.deepEqual(deadlines.map(Number.isFinite), [true, false, false, true]);
});

test("messages of an array are sent again, those of a generator never", async () => {
  let calls = 0;
  const ledger = await ledgerOf({
    ImportSettlementReport: async (requests: AsyncIterable<unknown>) => {
      let count = 0;
      for await (const _ of requests) count += 1;
      calls += 1;
      if (calls !== 2) throw new Failure("UNAVAILABLE");
      assert.equal(count, 3);
      return {};
    },
  });
  const chunks = ["a", "b", "c"].map((text) => ({ part: { case: "chunk" as const, value: Buffer.from(text) } }));
  await ledger.settlements.importSettlementReport(chunks);
  assert.equal(calls, 2);
  assert.equal((await errorOf(ledger.settlements.importSettlementReport(chunks.values()))).code, "UNAVAILABLE");
  assert.equal(calls, 3);
});

test("what the caller's own messages throw is what the call throws", async () => {
  const ledger = await ledgerOf({
    ImportSettlementReport: async (requests: AsyncIterable<unknown>) => {
      for await (const _ of requests);
      return {};
    },
  });
  async function* broken(): AsyncGenerator<object> {
    yield {};
    throw new RangeError("the file ends");
  }
  await assert.rejects(ledger.settlements.importSettlementReport(broken()), RangeError);
});

test("a closed client makes no call", async () => {
  const ledger = await ledgerOf(failing([]));
  ledger.close();
  await assert.rejects(ledger.holds.placeHold({}), /closed/);
});

test("keys are ULIDs: ordered by time, of 26 characters, and never the same", () => {
  assert.equal(newKey(0, new Uint8Array(10)), "0".repeat(26));
  assert.equal(newKey(2 ** 48 - 1, new Uint8Array(10).fill(255)), `7${"Z".repeat(25)}`);
  assert.equal(newKey(1469922850259, new Uint8Array(10)).slice(0, 10), "01ARZ3NDEK");
  const keys = Array.from({ length: 10_000 }, () => newKey());
  assert.equal(new Set(keys).size, keys.length);
  assert.ok(keys.every((key) => ULID.test(key)));
  const times = Array.from({ length: 1_000 }, () => Math.floor(Math.random() * 2 ** 48)).sort((a, b) => a - b);
  const made = times.map((time) => newKey(time, new Uint8Array(10)));
  assert.deepEqual(made, [...made].sort());
});
