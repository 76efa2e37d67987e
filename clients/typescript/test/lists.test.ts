// Owns the proof that a list has all items of all pages, each page with tries of its own.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AccountService,
  FindingService,
  HoldService,
  JournalService,
  LedgerClient,
  PostingService,
  ReconciliationService,
  SettlementService,
  TenantService,
  DepositService,
  WithdrawalService,
  WalletService,
  ProviderEventService,
  isLedgerError,
  type ListTransactionsRequest,
} from "@defter/client";
import { Failure, serve, type Handlers } from "./server.js";

const SERVICES = {
  AccountService,
  FindingService,
  HoldService,
  JournalService,
  PostingService,
  ReconciliationService,
  SettlementService,
  TenantService,
  DepositService,
  WithdrawalService,
  WalletService,
  ProviderEventService,
};

async function withLedger(handlers: Handlers, use: (ledger: LedgerClient) => Promise<void>): Promise<void> {
  const server = await serve(SERVICES, handlers);
  const ledger = new LedgerClient(server.target, { tenantId: "own" });
  try {
    await use(ledger);
  } finally {
    ledger.close();
    server.stop();
  }
}

/** Pages of transactions; each second call fails. */
function pages(sizes: readonly number[], seen: ListTransactionsRequest[] = []): Handlers {
  let calls = 0;
  return {
    ListTransactions: (request: ListTransactionsRequest) => {
      calls += 1;
      if (calls % 2 === 0) throw new Failure("UNAVAILABLE");
      seen.push(request);
      const page = Number(request.pageToken || "0");
      const first = sizes.slice(0, page).reduce((sum, size) => sum + size, 0);
      return {
        transactions: Array.from({ length: sizes[page]! }, (_, place) => ({ transactionId: `tx_${first + place}` })),
        nextPageToken: page + 1 < sizes.length ? String(page + 1) : "",
      };
    },
  };
}

for (const sizes of [[0], [1], [2, 3], [0, 0, 4], [2, 0, 1, 0]]) {
  test(`all items of pages of ${sizes.join(", ")} come, in order`, () => {
    const seen: ListTransactionsRequest[] = [];
    return withLedger(pages(sizes, seen), async (ledger) => {
      const found: string[] = [];
      for await (const each of ledger.postings.listTransactions({ pageSize: 7, reference: "r" }))
        found.push(each.transactionId);
      const count = sizes.reduce((sum, size) => sum + size, 0);
      assert.deepEqual(
        found,
        Array.from({ length: count }, (_, place) => `tx_${place}`),
      );
      for (const { pageSize, reference, tenantId } of seen)
        assert.deepEqual([pageSize, reference, tenantId], [7, "r", "own"]);
    });
  });
}

test("whole responses come from the same call, which can be iterated again", () =>
  withLedger(pages([2, 3]), async (ledger) => {
    const list = ledger.postings.listTransactions({});
    for (let round = 0; round < 2; round += 1) {
      const counts: number[] = [];
      for await (const page of list.pages()) counts.push(page.transactions.length);
      assert.deepEqual(counts, [2, 3]);
    }
  }));

test("a list goes on from a page that is given, and fetches no more than is read", () => {
  const seen: ListTransactionsRequest[] = [];
  return withLedger(pages([2, 3, 4], seen), async (ledger) => {
    for await (const each of ledger.postings.listTransactions({ pageToken: "1" })) {
      assert.equal(each.transactionId, "tx_2");
      break;
    }
    assert.equal(seen.length, 1);
  });
});

test("an error of a page is the error of the list", () =>
  withLedger(
    {
      ListHolds: () => {
        throw new Failure("INVALID_ARGUMENT", { reason: "PAGE_TOKEN_INVALID" });
      },
    },
    async (ledger) => {
      await assert.rejects(
        (async () => {
          for await (const _ of ledger.holds.listHolds({}));
        })(),
        (error) => isLedgerError(error) && error.reason === "PAGE_TOKEN_INVALID",
      );
    },
  ));

test("each RPC with pages has exactly one list of messages to iterate over", () => {
  const paged = Object.values(SERVICES).flatMap((service) =>
    service.methods.filter((method) => "pageToken" in method.input.field),
  );
  assert.ok(paged.length >= 13);
  for (const { name, output } of paged) {
    const lists = output.fields.filter((field) => field.fieldKind === "list" && field.listKind === "message");
    assert.equal(lists.length, 1, name);
    assert.ok("nextPageToken" in output.field, name);
  }
});
