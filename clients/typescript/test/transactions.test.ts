// Owns the proof that a stream gives each item its result once, in order, whatever breaks.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  LedgerClient,
  LedgerError,
  PostTransactionItemSchema,
  PostingService,
  isLedgerError,
  type PostTransactionItem,
  type StreamTransactionsRequest,
} from "@defter/client";
import { Failure, serve } from "./server.js";

interface Exchange {
  // By default a stream of Node.js is destroyed when it was read to its end, and with it the way back.
  iterator(options: { destroyOnReturn: false }): AsyncIterable<StreamTransactionsRequest>;
  write(message: object): void;
  on(event: string, listener: () => void): void;
}

async function withStream(
  handler: (call: Exchange) => unknown,
  use: (ledger: LedgerClient) => Promise<void>,
): Promise<void> {
  const server = await serve({ PostingService }, { StreamTransactions: handler });
  const ledger = new LedgerClient(server.target, { tenantId: "demo", timeoutMs: 60_000 });
  try {
    await use(ledger);
  } finally {
    ledger.close();
    server.stop();
  }
}

function items(count: number): { idempotencyKey: string }[] {
  return Array.from({ length: count }, (_, place) => ({ idempotencyKey: `k-${place}` }));
}

async function keysOf(results: AsyncIterable<{ idempotencyKey: string }>): Promise<string[]> {
  const keys: string[] = [];
  for await (const { idempotencyKey } of results) keys.push(idempotencyKey);
  return keys;
}

/** A ledger that decides each key once, and breaks off after some results of each connection. */
function breaking(after: (call: number) => number, breakOff: () => unknown, decided: Map<string, number>) {
  let calls = 0;
  return async (call: Exchange): Promise<unknown> => {
    calls += 1;
    let left = after(calls);
    for await (const { items: sent, tenantId } of call.iterator({ destroyOnReturn: false })) {
      assert.equal(tenantId, "demo");
      // All that came is decided; of the results some are lost.
      const results = sent.map(({ idempotencyKey }: PostTransactionItem) => {
        const times = decided.get(idempotencyKey) ?? 0;
        decided.set(idempotencyKey, times + 1);
        return { idempotencyKey, replayed: times > 0 };
      });
      call.write({ results: results.slice(0, left) });
      left -= results.length;
      if (left < 0) return breakOff();
    }
    return undefined;
  };
}

const BREAKS: Record<string, () => unknown> = {
  "a server that is away": () => {
    throw new Failure("UNAVAILABLE");
  },
  "a full lane": () => {
    throw new Failure("RESOURCE_EXHAUSTED", { reason: "LANE_FULL", retryMs: 1 });
  },
  "a stream that ends": () => undefined,
};

for (const [name, breakOff] of Object.entries(BREAKS)) {
  for (const count of [0, 1, 5, 2_500]) {
    test(`${count} items have their results in order through ${name}`, () => {
      const decided = new Map<string, number>();
      return withStream(
        breaking((call) => call * 137, breakOff, decided),
        async (ledger) => {
          const keys = await keysOf(ledger.postings.streamTransactions(items(count)));
          assert.deepEqual(
            keys,
            items(count).map((each) => each.idempotencyKey),
          );
          assert.equal(decided.size, count);
          if (count > 1_000)
            assert.ok(
              [...decided.values()].some((times) => times > 1),
              "nothing was sent again",
            );
        },
      );
    });
  }
}

test("items that come one by one are sent as they come", () =>
  withStream(
    breaking(
      () => Infinity,
      () => undefined,
      new Map(),
    ),
    async (ledger) => {
      const answers: string[] = [];
      let told: (key: string) => void = () => {};
      async function* source(): AsyncGenerator<{ idempotencyKey: string }> {
        for (const item of items(5)) {
          const answered = new Promise<string>((resolve) => (told = resolve));
          yield item;
          // The next one comes when this one has its result.
          assert.equal(await answered, item.idempotencyKey);
        }
      }
      for await (const { idempotencyKey } of ledger.postings.streamTransactions(source())) {
        answers.push(idempotencyKey);
        told(idempotencyKey);
      }
      assert.equal(answers.length, 5);
    },
  ));

test("what the source throws is thrown behind the results of what came before it", () =>
  withStream(
    breaking(
      () => Infinity,
      () => undefined,
      new Map(),
    ),
    async (ledger) => {
      function* source(): Generator<{ idempotencyKey: string }> {
        yield* items(3);
        throw new RangeError("the file ends");
      }
      const found: string[] = [];
      await assert.rejects(async () => {
        for await (const { idempotencyKey } of ledger.postings.streamTransactions(source())) found.push(idempotencyKey);
      }, RangeError);
      assert.deepEqual(found, ["k-0", "k-1", "k-2"]);
    },
  ));

test("who stops reading ends the call and its source", async () => {
  let cancelled = (): void => {};
  const isCancelled = new Promise<void>((resolve) => (cancelled = resolve));
  let ended = (): void => {};
  const hasEnded = new Promise<void>((resolve) => (ended = resolve));
  await withStream(
    (call) => {
      call.on("cancelled", cancelled);
      return breaking(
        () => Infinity,
        () => undefined,
        new Map(),
      )(call);
    },
    async (ledger) => {
      async function* endless(): AsyncGenerator<{ idempotencyKey: string }> {
        try {
          for (let place = 0; ; place += 1) yield { idempotencyKey: `k-${place}` };
        } finally {
          ended();
        }
      }
      for await (const { idempotencyKey } of ledger.postings.streamTransactions(endless()))
        if (idempotencyKey === "k-4000") break;
      await Promise.all([isCancelled, hasEnded]);
    },
  );
});

test("a server that gives no result in time is given up, and the outcome is open", () =>
  withStream(
    () => new Promise(() => {}),
    async (ledger) => {
      const results = ledger.postings.streamTransactions(items(3), { timeoutMs: 50 });
      await assert.rejects(
        keysOf(results),
        (error) => isLedgerError(error) && error.code === "DEADLINE_EXCEEDED" && error.outcomeUnknown,
      );
    },
  ));

test("a server that does not end a stream which has all its results is not waited for", () =>
  withStream(
    async (call) => {
      await breaking(
        () => Infinity,
        () => undefined,
        new Map(),
      )(call);
      await new Promise(() => {});
    },
    async (ledger) => {
      assert.equal((await keysOf(ledger.postings.streamTransactions(items(3), { timeoutMs: 2_000 }))).length, 3);
    },
  ));

test("a server that stays away is given up with the last error", async () => {
  const ledger = new LedgerClient("localhost:1", { tenantId: "demo" });
  const results = ledger.postings.streamTransactions(items(3), { timeoutMs: 100 });
  await assert.rejects(
    keysOf(results),
    (error) => isLedgerError(error) && ["UNAVAILABLE", "DEADLINE_EXCEEDED"].includes(error.code),
  );
  ledger.close();
});

test("an error of the call is no break", () =>
  withStream(
    () => {
      throw new Failure("PERMISSION_DENIED", { reason: "PERMISSION_MISSING" });
    },
    async (ledger) => {
      const results = ledger.postings.streamTransactions(items(3));
      await assert.rejects(keysOf(results), (error) => isLedgerError(error) && error.kind === "access");
    },
  ));

test("a signal ends a stream, also one whose source is silent", () =>
  withStream(
    breaking(
      () => Infinity,
      () => undefined,
      new Map(),
    ),
    async (ledger) => {
      const controller = new AbortController();
      async function* silent(): AsyncGenerator<{ idempotencyKey: string }> {
        yield* items(1);
        await new Promise(() => {});
      }
      const found: string[] = [];
      await assert.rejects(
        async () => {
          for await (const { idempotencyKey } of ledger.postings.streamTransactions(silent(), {
            signal: controller.signal,
          })) {
            found.push(idempotencyKey);
            controller.abort();
          }
        },
        (error) => isLedgerError(error) && error.code === "CANCELLED",
      );
      assert.deepEqual(found, ["k-0"]);
    },
  ));

test("a result of another item is an error", () =>
  withStream(
    async (call) => {
      for await (const _ of call.iterator({ destroyOnReturn: false }))
        call.write({ results: [{ idempotencyKey: "k-1" }] });
    },
    async (ledger) => {
      await assert.rejects(
        keysOf(ledger.postings.streamTransactions(items(3))),
        /of k-1 came where that of k-0 follows/,
      );
    },
  ));

/** Returns what a stream ends with, and the keys of the results before. */
async function endOf(results: AsyncIterable<{ idempotencyKey: string }>): Promise<[LedgerError, string[]]> {
  const found: string[] = [];
  try {
    for await (const { idempotencyKey } of results) found.push(idempotencyKey);
  } catch (error) {
    assert.ok(isLedgerError(error), String(error));
    return [error, found];
  }
  return assert.fail("the stream has ended well");
}

for (const [name, end] of Object.entries<() => unknown>({
  "a server that stays away": () => {
    throw new Failure("UNAVAILABLE");
  },
  "a full lane": () => {
    throw new Failure("RESOURCE_EXHAUSTED", { reason: "LANE_FULL" });
  },
  "an answer": () => {
    throw new Failure("PERMISSION_DENIED", { reason: "PERMISSION_MISSING" });
  },
  "a fault": () => {
    throw new Failure("INTERNAL");
  },
  silence: () => new Promise(() => {}),
})) {
  test(`a stream that ends with ${name} tells the keys of all items without a result`, () =>
    withStream(
      breaking((call) => (call === 1 ? 3 : 0), end, new Map()),
      async (ledger) => {
        const [error, found] = await endOf(ledger.postings.streamTransactions(items(9), { timeoutMs: 300 }));
        assert.deepEqual(
          [...found, ...error.keys],
          items(9).map((each) => each.idempotencyKey),
        );
        assert.deepEqual([error.outcomeUnknown, error.keys.length], [true, 6]);
      },
    ));
}

test("a stream in which nothing waits for a result leaves nothing open", () =>
  withStream(
    breaking(
      () => 3,
      () => {
        throw new Failure("PERMISSION_DENIED", { reason: "PERMISSION_MISSING" });
      },
      new Map(),
    ),
    async (ledger) => {
      const controller = new AbortController();
      async function* source(): AsyncGenerator<{ idempotencyKey: string }> {
        yield* items(3);
        await new Promise(() => {});
      }
      const results = ledger.postings.streamTransactions(source(), { signal: controller.signal });
      for (let count = 0; count < 3; count += 1) await results.next();
      controller.abort();
      const [error] = await endOf(results);
      assert.deepEqual([error.code, error.outcomeUnknown, error.keys], ["CANCELLED", false, []]);
    },
  ));

test("a connection that breaks while nothing waits is followed by another, however long that was", async () => {
  let breakOff = (): void => {};
  await withStream(
    async (call) => {
      const isBroken = new Promise<never>((_, reject) => (breakOff = () => reject(new Failure("UNAVAILABLE"))));
      await Promise.race([
        isBroken,
        breaking(
          () => Infinity,
          () => undefined,
          new Map(),
        )(call),
      ]);
    },
    async (ledger) => {
      let goOn = (): void => {};
      async function* source(): AsyncGenerator<{ idempotencyKey: string }> {
        yield { idempotencyKey: "k-0" };
        await new Promise<void>((resolve) => (goOn = resolve));
        yield { idempotencyKey: "k-1" };
      }
      const results = ledger.postings.streamTransactions(source(), { timeoutMs: 2_000 });
      assert.equal((await results.next()).value?.idempotencyKey, "k-0");
      const next = results.next();
      // The time in which a result must come is over, and none was waited for.
      await new Promise((resolve) => setTimeout(resolve, 2_100));
      breakOff();
      await new Promise((resolve) => setTimeout(resolve, 100));
      goOn();
      assert.equal((await next).value?.idempotencyKey, "k-1");
      // A stream that is not read to its end keeps its call, and with it the process.
      assert.equal((await results.next()).done, true);
    },
  );
});

test("an item that can't be written ends the source, behind the results of what came before it", async () => {
  const bads: readonly (readonly [MessageInitShape<typeof PostTransactionItemSchema>, RegExp])[] = [
    [{ idempotencyKey: "\ud800" }, /no Unicode/],
    [{ idempotencyKey: "k", transaction: { postings: [{ amountMinor: 2n ** 64n }] } }, /amount_minor/],
  ];
  for (const [bad, problem] of bads) {
    await withStream(
      breaking(
        () => Infinity,
        () => undefined,
        new Map(),
      ),
      async (ledger) => {
        const found: string[] = [];
        await assert.rejects(async () => {
          for await (const result of ledger.postings.streamTransactions([...items(2), bad, ...items(1)]))
            found.push(result.idempotencyKey);
        }, problem);
        assert.deepEqual(found, ["k-0", "k-1"]);
      },
    );
  }
});
