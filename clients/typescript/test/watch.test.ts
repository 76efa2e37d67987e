// Owns the proof that a watch delivers each record once and in order, whatever breaks, and is ended by answers alone.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import {
  JournalBrokenError,
  JournalEntrySchema,
  JournalRecordSchema,
  JournalService,
  LedgerClient,
  checkpointOf,
  create,
  isLedgerError,
  type JournalEntry,
  type WatchJournalRequest,
  type WatchOptions,
} from "@defter/client";
import { toBinary } from "@bufbuild/protobuf";
import { Failure, serve } from "./server.js";

interface WatchCall {
  write(message: object): void;
  on(event: string, listener: () => void): void;
}
type Handler = (request: WatchJournalRequest, call: WatchCall) => unknown;

const COUNT = 32;
const JOURNAL = journalOf(COUNT);
const FOREVER = new Promise<never>(() => {});

function journalOf(count: number): JournalEntry[] {
  const entries: JournalEntry[] = [];
  let chainHash: Uint8Array = Buffer.alloc(32);
  for (let sequence = 1n; sequence <= count; sequence += 1n) {
    const record = create(JournalRecordSchema, { sequence, tenantId: "demo" });
    const recordBytes = toBinary(JournalRecordSchema, record);
    chainHash = createHash("sha256").update(chainHash).update(recordBytes).digest();
    entries.push(create(JournalEntrySchema, { sequence, record, recordBytes, chainHash }));
  }
  return entries;
}

function send(call: WatchCall, entries: JournalEntry[], bytesOnly = false): void {
  call.write({ entries: bytesOnly ? entries.map((each) => ({ ...each, record: undefined })) : entries });
}

async function withWatch(handler: Handler, use: (ledger: LedgerClient) => Promise<void>): Promise<void> {
  const server = await serve({ JournalService }, { WatchJournal: handler });
  const ledger = new LedgerClient(server.target, { tenantId: "demo" });
  try {
    await use(ledger);
  } finally {
    ledger.close();
    server.stop();
  }
}

/** Read until a record, or to the end. */
async function read(
  watch: AsyncIterable<JournalEntry>,
  until: bigint,
  found: JournalEntry[] = [],
): Promise<JournalEntry[]> {
  for await (const entry of watch) {
    found.push(entry);
    if (entry.sequence === until) break;
  }
  return found;
}

function sequences(entries: readonly JournalEntry[]): number[] {
  return entries.map((each) => Number(each.sequence));
}

function from(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, place) => first + place);
}

const BREAKS: Record<string, () => unknown> = {
  "a server that is away": () => {
    throw new Failure("UNAVAILABLE");
  },
  "a stream that ends": () => undefined,
  "a reader that is too slow": () => {
    throw new Failure("ABORTED", { reason: "READER_TOO_SLOW", facts: { after_sequence: "1" } });
  },
  "a fault": () => {
    throw new Failure("INTERNAL", { reason: "INTERNAL" });
  },
  "a reset": () => {
    throw new Failure("CANCELLED");
  },
  "a full server": () => {
    throw new Failure("RESOURCE_EXHAUSTED", { reason: "QUOTA_CALLS_UNDER_WAY", retryMs: 1 });
  },
};

for (const verifyChain of [false, true]) {
  for (const [name, breakOff] of Object.entries(BREAKS)) {
    test(`a watch goes on after ${name}${verifyChain ? ", with the chain checked" : ""}`, () =>
      withWatch(
        ({ afterSequence, bytesOnly }, call) => {
          assert.equal(bytesOnly, verifyChain);
          // One to seven records at each try.
          const after = Number(afterSequence);
          send(call, JOURNAL.slice(after, after + 1 + (after % 7)), bytesOnly);
          return breakOff();
        },
        async (ledger) => {
          const breaks: unknown[] = [];
          const onBreak = (error: unknown): void => void breaks.push(error);
          const found = await read(ledger.journal.watchJournal({}, { verifyChain, onBreak }), BigInt(COUNT));
          assert.deepEqual(sequences(found), from(1, COUNT));
          assert.ok(found.every((each) => each.record?.sequence === each.sequence));
          assert.ok(breaks.length > 3 && breaks.every(isLedgerError));
        },
      ));
  }
}

test("a watch goes on after silence of two and a half heartbeats", () => {
  let calls = 0;
  return withWatch(
    ({ afterSequence, heartbeatSeconds }, call) => {
      assert.equal(heartbeatSeconds, 1);
      send(call, JOURNAL.slice(Number(afterSequence), Number(afterSequence) + 1));
      calls += 1;
      return FOREVER;
    },
    async (ledger) => {
      assert.deepEqual(sequences(await read(ledger.journal.watchJournal({ heartbeatSeconds: 1 }), 2n)), [1, 2]);
      assert.ok(calls >= 2);
    },
  );
});

for (const [name, options, after] of [
  ["a checkpoint", { checkpoint: checkpointOf(JOURNAL[27]!) }, 0n],
  ["a sequence", {}, 28n],
  ["a checkpoint with the chain checked", { checkpoint: checkpointOf(JOURNAL[27]!), verifyChain: true }, 0n],
  ["a sequence with the chain checked", { verifyChain: true }, 28n],
] as const satisfies readonly (readonly [string, WatchOptions, bigint])[]) {
  test(`a watch begins behind ${name}`, () =>
    withWatch(
      ({ afterSequence, bytesOnly }, call) => {
        send(call, JOURNAL.slice(Number(afterSequence)), bytesOnly);
        return FOREVER;
      },
      async (ledger) => {
        const found = await read(ledger.journal.watchJournal({ afterSequence: after }, options), BigInt(COUNT));
        assert.deepEqual(sequences(found), from(29, COUNT));
        assert.match(checkpointOf(found[0]!), /^29:[0-9a-f]{64}$/);
      },
    ));
}

for (const checkpoint of ["", "28", "x:00", `28:${"0".repeat(63)}`, `-1:${"0".repeat(64)}`, `28:${"0".repeat(64)} `]) {
  test(`${JSON.stringify(checkpoint)} is no checkpoint`, () => {
    const ledger = new LedgerClient("localhost:1");
    assert.throws(() => ledger.journal.watchJournal({}, { checkpoint }), TypeError);
    ledger.close();
  });
}

test("a checkpoint without a hash is one, as the other clients write it", () => {
  const ledger = new LedgerClient("localhost:1");
  ledger.journal.watchJournal({}, { checkpoint: "28:" });
  ledger.close();
});

test("a watch does not begin at two places", () => {
  const ledger = new LedgerClient("localhost:1");
  assert.throws(
    () => ledger.journal.watchJournal({ afterSequence: 1n }, { checkpoint: checkpointOf(JOURNAL[0]!) }),
    TypeError,
  );
  ledger.close();
});

const altered = {
  ...JOURNAL[9]!,
  recordBytes: toBinary(JournalRecordSchema, create(JournalRecordSchema, { sequence: 10n, tenantId: "dema" })),
};
const renamed = (() => {
  const recordBytes = toBinary(JournalRecordSchema, create(JournalRecordSchema, { sequence: 11n }));
  return {
    ...JOURNAL[9]!,
    recordBytes,
    chainHash: createHash("sha256").update(JOURNAL[8]!.chainHash).update(recordBytes).digest(),
  };
})();

for (const [name, tenth, verifyChain] of [
  ["missing", JOURNAL[10]!, false],
  ["repeated", JOURNAL[8]!, false],
  ["of the past", JOURNAL[0]!, true],
  ["altered", altered, true],
  ["of another chain", { ...JOURNAL[9]!, chainHash: JOURNAL[8]!.chainHash }, true],
  ["not the one of its bytes", renamed, true],
] as const) {
  test(`a record that is ${name} ends a watch, and nothing is skipped`, () =>
    withWatch(
      (_, call) => {
        send(call, [...JOURNAL.slice(0, 9), tenth, ...JOURNAL.slice(10)], verifyChain);
        return FOREVER;
      },
      async (ledger) => {
        const found: JournalEntry[] = [];
        await assert.rejects(
          read(ledger.journal.watchJournal({}, { verifyChain }), BigInt(COUNT), found),
          JournalBrokenError,
        );
        assert.deepEqual(sequences(found), from(1, 9));
      },
    ));
}

test("a record that does not follow the checkpoint ends a watch: the journal has another history", () =>
  withWatch(
    ({ afterSequence }, call) => {
      send(call, JOURNAL.slice(Number(afterSequence)), true);
      return FOREVER;
    },
    async (ledger) => {
      const checkpoint = `28:${"ab".repeat(32)}`;
      await assert.rejects(
        read(ledger.journal.watchJournal({}, { checkpoint, verifyChain: true }), BigInt(COUNT)),
        JournalBrokenError,
      );
    },
  ));

for (const [code, reason] of [
  ["OUT_OF_RANGE", "NOT_YET_RECORDED"],
  ["UNAUTHENTICATED", "TOKEN_EXPIRED"],
  ["PERMISSION_DENIED", "PERMISSION_MISSING"],
  ["PERMISSION_DENIED", undefined],
  ["INVALID_ARGUMENT", "FIELD_OUT_OF_RANGE"],
  ["NOT_FOUND", "TENANT_NOT_FOUND"],
] as const) {
  test(`${reason ?? code} ends a watch`, () => {
    let calls = 0;
    return withWatch(
      ({ afterSequence }, call) => {
        calls += 1;
        if (calls === 1) return send(call, JOURNAL.slice(Number(afterSequence), 3));
        // NOT_YET_RECORDED of a window asks to come again, and of a watch it does not.
        throw new Failure(code, { ...(reason && { reason }), facts: { head_sequence: "2" } });
      },
      async (ledger) => {
        const found: JournalEntry[] = [];
        await assert.rejects(
          read(ledger.journal.watchJournal({}), BigInt(COUNT), found),
          (error) => isLedgerError(error) && error.code === code,
        );
        assert.deepEqual(sequences(found), [1, 2, 3]);
        assert.equal(calls, 2);
      },
    );
  });
}

test("who stops reading ends the call, and a signal ends the watch", () => {
  const ended: Promise<void>[] = [];
  return withWatch(
    (_, call) => {
      ended.push(new Promise((resolve) => call.on("cancelled", resolve)));
      send(call, JOURNAL.slice(0, 3));
      return FOREVER;
    },
    async (ledger) => {
      await read(ledger.journal.watchJournal({}), 2n);
      await ended[0];
      const controller = new AbortController();
      const watching = (async () => {
        for await (const { sequence } of ledger.journal.watchJournal({}, { signal: controller.signal }))
          if (sequence === 3n) controller.abort();
      })();
      await assert.rejects(watching, (error) => isLedgerError(error) && error.code === "CANCELLED");
      await ended[1];
    },
  );
});
