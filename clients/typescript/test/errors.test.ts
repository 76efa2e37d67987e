// Owns the proof that each reason crosses the wire as its class, with its facts typed.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  AccessError,
  AccountService,
  ErrorReason,
  FaultError,
  InsufficientFundsError,
  LedgerClient,
  LedgerError,
  REASONS,
  RefusedError,
  RejectionSchema,
  RequestError,
  RetryError,
  create,
  hasReason,
  isLedgerError,
  rejectionError,
  type Code,
  type GetBalanceRequest,
  type ReasonName,
} from "@defter/client";
import { Failure, serve, type Running } from "./server.js";

const TOLD = { text: "player:42", integer: "-9223372036854775809", time: "2026-11-29T01:02:03.456789Z" };
const READ = { text: "player:42", integer: -9223372036854775809n, time: new Date("2026-11-29T01:02:03.456Z") };
const KINDS = {
  retry: RetryError,
  request: RequestError,
  access: AccessError,
  refused: RefusedError,
  fault: FaultError,
};
const NAMES = Object.keys(REASONS) as ReasonName[];

let server: Running;
let ledger: LedgerClient;
/** What the server fails with next. */
let failure: Failure;

before(async () => {
  server = await serve(
    { AccountService },
    {
      GetBalance: (_: GetBalanceRequest) => {
        throw failure;
      },
    },
  );
  ledger = new LedgerClient(server.target);
});

after(() => {
  ledger.close();
  server.stop();
});

async function thrown(next: Failure): Promise<LedgerError> {
  failure = next;
  const error: unknown = await ledger.accounts.getBalance({}, { timeoutMs: 60_000 }).catch((each: unknown) => each);
  assert.ok(isLedgerError(error), String(error));
  return error;
}

/** A delay for which no call has time: then one that would be tried again is not. */
const NEVER = 3_600_000;

function factsOf(reason: ReasonName): readonly (readonly [field: string, name: string, type: keyof typeof TOLD])[] {
  return Object.entries(REASONS[reason].facts).map(([field, [name, type]]) => [field, name, type]);
}

for (const reason of NAMES) {
  test(`${reason} crosses with its class, kind and facts`, async () => {
    const { code, error: made } = REASONS[reason];
    const facts = Object.fromEntries(factsOf(reason).map(([, name, type]) => [name, TOLD[type]]));
    const told = { reason, facts: { ...facts, newer: "1" }, requestId: "r-1", message: "why", retryMs: NEVER };
    const error = await thrown(new Failure(code, told));
    assert.equal(error.constructor, made);
    assert.ok(error instanceof KINDS[error.kind]);
    assert.ok(hasReason(error, reason));
    const read = Object.fromEntries(factsOf(reason).map(([field, , type]) => [field, READ[type]]));
    assert.deepEqual(error.facts, read);
    assert.deepEqual(error.metadata, { ...facts, newer: "1" });
    assert.deepEqual([error.code, error.message, error.requestId, error.name], [code, "why", "r-1", made.name]);
  });

  test(`${reason} of an item is the same error`, () => {
    const facts = Object.fromEntries(factsOf(reason).map(([, name, type]) => [name, TOLD[type]]));
    const rejection = create(RejectionSchema, { reason: ErrorReason[reason], message: "why", metadata: facts });
    const error = rejectionError(rejection, { key: "k", replayed: true, index: 3 });
    assert.equal(error.constructor, REASONS[reason].error);
    assert.equal(error.code, REASONS[reason].code);
    assert.deepEqual([error.key, error.replayed, error.index, error.reason], ["k", true, 3, reason]);
    assert.deepEqual(error.facts, Object.fromEntries(factsOf(reason).map(([field, , type]) => [field, READ[type]])));
  });
}

test("facts that are not there or can't be read are undefined", async () => {
  const facts = { available_balance_minor: "12.5", change_minor: "" };
  const error = await thrown(new Failure("FAILED_PRECONDITION", { reason: "INSUFFICIENT_FUNDS", facts }));
  assert.ok(error instanceof InsufficientFundsError);
  assert.equal(error.facts.availableBalanceMinor, undefined);
  assert.equal(error.facts.accountId, undefined);
  assert.equal(error.facts.changeMinor, undefined);
  const expired = await thrown(
    new Failure("UNAUTHENTICATED", { reason: "TOKEN_EXPIRED", facts: { expire_time: "soon" } }),
  );
  assert.ok(hasReason(expired, "TOKEN_EXPIRED"));
  assert.equal(expired.facts.expireTime, undefined);
});

for (const [code, unspoken, unknown] of [
  ["UNAVAILABLE", "retry", "retry"],
  ["RESOURCE_EXHAUSTED", "fault", "retry"],
  ["ABORTED", "fault", "retry"],
  ["INVALID_ARGUMENT", "request", "request"],
  ["UNAUTHENTICATED", "access", "access"],
  ["PERMISSION_DENIED", "access", "access"],
  ["FAILED_PRECONDITION", "fault", "refused"],
  ["NOT_FOUND", "fault", "refused"],
  ["ALREADY_EXISTS", "fault", "refused"],
  ["OUT_OF_RANGE", "fault", "refused"],
  ["INTERNAL", "fault", "fault"],
  ["UNKNOWN", "fault", "refused"],
  ["UNIMPLEMENTED", "fault", "refused"],
  ["DATA_LOSS", "fault", "refused"],
] as const satisfies readonly (readonly [Code, string, string])[]) {
  test(`${code} without a reason is of kind ${unspoken}, with a newer one of kind ${unknown}`, async () => {
    const silent = await thrown(new Failure(code, { retryMs: NEVER }));
    assert.deepEqual([silent.kind, silent.reason, silent.constructor], [unspoken, "", KINDS[unspoken]]);
    const newer = await thrown(new Failure(code, { reason: "OF_TOMORROW", facts: { a: "1" }, retryMs: NEVER }));
    assert.deepEqual([newer.kind, newer.reason, newer.metadata], [unknown, "OF_TOMORROW", { a: "1" }]);
  });
}

test("a rejection that a newer server calls by a number is a refusal", () => {
  const error = rejectionError(create(RejectionSchema, { reason: 9_999 as ErrorReason, metadata: { a: "1" } }));
  assert.deepEqual([error.kind, error.reason, error.metadata], ["refused", "ERROR_REASON_9999", { a: "1" }]);
});

test("a reason that is not the ledger's is none", async () => {
  const error = await thrown(
    new Failure("UNAVAILABLE", { reason: "INSUFFICIENT_FUNDS", domain: "proxy", retryMs: NEVER }),
  );
  assert.deepEqual([error.kind, error.reason, error.metadata], ["retry", "", {}]);
});

test("details that can't be read are no error of their own", async () => {
  const torn = new Failure("FAILED_PRECONDITION");
  torn.metadata.set("grpc-status-details-bin", Buffer.from("no status"));
  assert.deepEqual([(await thrown(torn)).code, (await thrown(torn)).reason], ["FAILED_PRECONDITION", ""]);
});

test("the item to blame is told by its index", async () => {
  const error = await thrown(
    new Failure("FAILED_PRECONDITION", { reason: "INSUFFICIENT_FUNDS", facts: { index: "17" } }),
  );
  assert.equal(error.index, 17);
});

test("nothing else is an error of the ledger", () => {
  for (const each of [null, undefined, 1, "x", {}, new Error("x"), { code: "INTERNAL" }])
    assert.ok(!isLedgerError(each));
});
