// Owns the proof that keyed calls have their effect exactly once while their server is killed again and again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AccountKind, Direction, LedgerClient, TransactionType, newKey, type JournalEntry } from "@defter/client";
import { fragileTarget, hand, needsKilling } from "./stack.js";

const CALLS = 1_000;
const UNDER_WAY = 64;
const KILLS = 10;
// A server that starts again on a busy machine takes a while; ten of them take longer.
const PATIENCE_MS = 300_000;

test(
  "a thousand calls through ten kills move their money once each, and a watch sees each record once",
  needsKilling,
  async () => {
    const tenantId = `ts-${newKey().toLowerCase()}`;
    const ledger = new LedgerClient(fragileTarget, { tenantId, timeoutMs: PATIENCE_MS });
    const { response } = await ledger.tenants.createTenant({});
    assert.equal(response.tenant?.tenantId, tenantId);
    await open(ledger, "house", AccountKind.ASSET);
    await open(ledger, "player", AccountKind.LIABILITY);

    const watched: JournalEntry[] = [];
    const controller = new AbortController();
    const watching = watch(ledger, watched, controller.signal);
    const posted = await postAll(ledger);
    assert.equal(new Set(posted.map((each) => each.id)).size, CALLS, "a transaction was answered for two keys");

    const { balance, sequence } = await ledger.accounts.getBalance({ accountId: "player" });
    assert.equal(balance?.postedBalanceMinor, BigInt(CALLS), "money moved twice, or not at all");
    await seen(watched, sequence);
    controller.abort();
    await watching;
    assert.deepEqual(
      watched.map((each) => each.sequence),
      watched.map((_, place) => BigInt(place + 1)),
    );
    const keys = watched.flatMap(({ record }) =>
      record?.fact.case === "transactionPosted" ? [record.request?.idempotencyKey] : [],
    );
    assert.deepEqual(keys.sort(), posted.map((each) => each.key).sort());
    ledger.close();
  },
);

async function open(ledger: LedgerClient, accountId: string, kind: AccountKind): Promise<void> {
  await ledger.accounts.openAccount({ account: { accountId, kind, currencyCode: "EUR" } });
}

async function postAll(ledger: LedgerClient): Promise<{ id: string | undefined; key: string }[]> {
  const posted: { id: string | undefined; key: string }[] = [];
  let begun = 0;
  let killed = 0;
  const kills: Promise<void>[] = [];
  async function worker(): Promise<void> {
    while (begun < CALLS) {
      begun += 1;
      // The kills are spread over the calls, so that each of them finds calls under way.
      if (killed < KILLS && begun > (killed * CALLS) / KILLS) {
        killed += 1;
        kills.push((kills.at(-1) ?? Promise.resolve()).then(() => hand("kill")));
      }
      posted.push(await post(ledger));
    }
  }
  await Promise.all(Array.from({ length: UNDER_WAY }, worker));
  await Promise.all(kills);
  assert.equal(killed, KILLS);
  return posted;
}

async function post(ledger: LedgerClient): Promise<{ id: string | undefined; key: string }> {
  const leg = { amountMinor: 1n, currencyCode: "EUR" };
  const { response, key } = await ledger.postings.postTransaction({
    transaction: {
      type: TransactionType.ADJUSTMENT,
      postings: [
        { accountId: "house", direction: Direction.DEBIT, ...leg },
        { accountId: "player", direction: Direction.CREDIT, ...leg },
      ],
    },
  });
  return { id: response.transaction?.transactionId, key };
}

async function watch(ledger: LedgerClient, watched: JournalEntry[], signal: AbortSignal): Promise<void> {
  try {
    for await (const entry of ledger.journal.watchJournal({ heartbeatSeconds: 1 }, { verifyChain: true, signal }))
      watched.push(entry);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Wait until the watch has come to a record; it is awaited by the test, whose runner ends what hangs. */
async function seen(watched: readonly JournalEntry[], sequence: bigint): Promise<void> {
  while ((watched.at(-1)?.sequence ?? 0n) < sequence) await new Promise((resolve) => setTimeout(resolve, 20));
}
