// Owns the proof that wrong use does not type-check. Never run: the compiler is the test.
import {
  DirectionSchema,
  InsufficientFundsError,
  LedgerClient,
  hasReason,
  type Account,
  type GetBalanceResponse,
  type JournalEntry,
  type Keyed,
  type PostTransactionResponse,
} from "@defter/client";

export async function wrongUse(ledger: LedgerClient, error: unknown): Promise<unknown[]> {
  const keyed: Keyed<PostTransactionResponse> = await ledger.postings.postTransaction({});
  const read: GetBalanceResponse = await ledger.accounts.getBalance({});
  for await (const account of ledger.accounts.listAccounts({})) account.account satisfies Account | undefined;
  for await (const entry of ledger.journal.watchJournal({})) entry satisfies JournalEntry;
  // @ts-expect-error money is counted in bigint
  await ledger.holds.placeHold({ amountMinor: 5 });
  // @ts-expect-error no such field
  await ledger.holds.placeHold({ amount: 5n });
  // @ts-expect-error reads have no key
  await ledger.accounts.getBalance({}, { key: "k" });
  // @ts-expect-error keyed calls answer with their key
  keyed.transaction;
  // @ts-expect-error a watch has no deadline
  ledger.journal.watchJournal({}, { timeoutMs: 5 });
  // @ts-expect-error a list is no promise
  ledger.accounts.listAccounts({}).then;
  // @ts-expect-error no such method
  ledger.accounts.postTransaction;
  // @ts-expect-error facts are read-only
  if (hasReason(error, "INSUFFICIENT_FUNDS")) error.facts.availableBalanceMinor = 5n;
  // @ts-expect-error no such fact
  if (hasReason(error, "INSUFFICIENT_FUNDS")) error.facts.holdId;
  // @ts-expect-error no such reason
  hasReason(error, "OUT_OF_MONEY");
  const available: bigint | undefined =
    error instanceof InsufficientFundsError ? error.facts.availableBalanceMinor : 0n;
  return [keyed, read, available, DirectionSchema];
}
