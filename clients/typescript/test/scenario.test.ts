// Owns the scenario of all clients (clients/scenario), run by this one.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  fromJson,
  toJson,
  type DescMethod,
  type DescService,
  type JsonObject,
  type JsonValue,
  type Message,
} from "@bufbuild/protobuf";
import * as client from "@defter/client";
import { LedgerClient, checkpointOf, isLedgerError, type LedgerError } from "@defter/client";
import { hand, needsServers, target, tenant } from "./stack.js";

interface Step {
  readonly name: string;
  readonly do?: "call" | "list" | "stream" | "watch" | "until";
  readonly method: string;
  readonly request?: JsonObject;
  readonly key?: string;
  readonly save?: string;
  readonly response?: JsonObject;
  readonly replayed?: boolean;
  readonly error?: { reason: string; code: string; kind: string; replayed?: boolean; fields?: Record<string, string> };
  readonly count?: number;
  readonly first?: JsonObject;
  readonly item?: JsonObject;
  readonly replayed_count?: number;
  readonly break_after?: readonly number[];
  readonly after?: number;
  readonly until?: string;
  readonly resume?: boolean;
}

/** A call as the scenario tells it: what is keyed is known by its answer. */
type AnyCall = (request: Message, options: object) => Promise<Message | client.Keyed<Message>> & AsyncIterable<Message>;

const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const MINUTE = 60_000;
const { steps } = JSON.parse(readFileSync(new URL("../../scenario/scenario.json", import.meta.url), "utf8")) as {
  steps: Step[];
};
const saved: Record<string, JsonValue> = { tenant };
const ledger = new LedgerClient(target || "localhost:1", { tenantId: tenant, timeoutMs: MINUTE });

test("the scenario", needsServers, async (each) => {
  for (const step of steps) await each.test(step.name, () => DOES[step.do ?? "call"](step));
  ledger.close();
});

const DOES: Record<NonNullable<Step["do"]>, (step: Step) => Promise<void>> = {
  async call(step) {
    const { method, call } = methodOf(step);
    const options = step.key === undefined ? {} : { key: step.key };
    const answer = await call(requestOf(method, step), options).catch((error: unknown) => error);
    if (step.error !== undefined) return hasFailed(step, answer);
    if (answer instanceof Error) throw answer;
    const response = messageOf(step, answer as Message | client.Keyed<Message>);
    const json = jsonOf(method, response);
    includes(json, filled(step.response ?? {}), step.name);
    if (step.save !== undefined) saved[step.save] = json;
  },

  async list(step) {
    const { method, call } = methodOf(step);
    const found: unknown[] = [];
    for await (const item of call(requestOf(method, step), {})) found.push(item);
    assert.equal(found.length, step.count);
    const field = method.output.fields.find((each) => each.fieldKind === "list" && each.listKind === "message");
    assert.ok(field?.fieldKind === "list" && field.listKind === "message");
    includes(
      toJson(field.message, found[0] as Message, { useProtoFieldName: true }),
      filled(step.first ?? {}),
      step.name,
    );
  },

  async stream(step) {
    const items = Array.from({ length: step.count ?? 0 }, (_, i) => {
      return fromJson(client.PostTransactionItemSchema, filled(step.item ?? {}, { i: String(i) }));
    });
    let count = 0;
    let replayed = 0;
    for await (const result of ledger.postings.streamTransactions(items)) {
      assert.equal(result.idempotencyKey, items[count]?.idempotencyKey);
      assert.equal(result.outcome.case, "transaction");
      count += 1;
      replayed += result.replayed ? 1 : 0;
      if (step.break_after?.includes(count)) await hand("break");
    }
    assert.equal(count, step.count);
    // What was sent again after a break was there before as well, so that number is the least.
    assert.ok(replayed >= (step.replayed_count ?? 0));
  },

  async watch(step) {
    const until = BigInt(filled(step.until ?? "") as string);
    let at = BigInt(step.after ?? 0);
    let count = 0;
    let watch = ledger.journal.watchJournal({ afterSequence: at }, { verifyChain: true });
    for (let isResumed = step.resume !== true, checkpoint = ""; at < until;) {
      for await (const entry of watch) {
        at += 1n;
        count += 1;
        assert.equal(entry.sequence, at);
        checkpoint = checkpointOf(entry);
        if (step.break_after?.includes(count)) await hand("break");
        if (at === until || (!isResumed && at >= until / 2n)) break;
      }
      isResumed = true;
      watch = ledger.journal.watchJournal({}, { checkpoint, verifyChain: true });
    }
  },

  async until(step) {
    const { method, call } = methodOf(step);
    const end = performance.now() + MINUTE;
    for (;;) {
      const json = jsonOf(method, (await call(requestOf(method, step), {})) as Message);
      try {
        return includes(json, filled(step.response ?? {}), step.name);
      } catch (error) {
        if (performance.now() > end) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  },
};

function methodOf({ method: name }: Step): { method: DescMethod; call: AnyCall } {
  const [service, rpc] = name.split("/") as [string, string];
  const descriptor = Object.values(client as object).find(
    (each: DescService) => each?.kind === "service" && each.typeName === service,
  ) as DescService;
  const method = descriptor.methods.find((each) => each.name === rpc);
  assert.ok(method, name);
  const methods = Object.values(ledger as object).find((each) => method.localName in each) as Record<string, AnyCall>;
  return { method, call: methods[method.localName]! };
}

function requestOf(method: DescMethod, { request = {} }: Step): Message {
  return fromJson(method.input, filled(request)) as Message;
}

function messageOf(step: Step, answer: Message | client.Keyed<Message>): Message {
  if (!("response" in answer && "key" in answer)) return answer as Message;
  assert.equal(answer.replayed, step.replayed ?? false);
  if (step.key === undefined) assert.match(answer.key as string, ULID);
  else assert.equal(answer.key, step.key);
  return answer.response as Message;
}

function hasFailed(step: Step, error: unknown): void {
  assert.ok(isLedgerError(error), `${step.name}: ${String(error)}`);
  const { reason, code, kind, replayed = false, fields = {} } = step.error!;
  assert.deepEqual([error.reason, error.code, error.kind, error.replayed], [reason, code, kind, replayed]);
  if (step.key !== undefined) assert.equal(error.key, step.key);
  includes(textsOf(error), filled(fields), step.name);
}

function textsOf({ reason, facts }: LedgerError): JsonObject {
  const names = client.REASONS[reason as client.ReasonName].facts as Record<string, readonly [string, string]>;
  return Object.fromEntries(
    Object.entries(facts).map(([field, fact]) => [
      names[field]![0],
      fact instanceof Date ? fact.toISOString() : String(fact),
    ]),
  );
}

function jsonOf(method: DescMethod, message: Message): JsonObject {
  return toJson(method.output, message, { useProtoFieldName: true }) as JsonObject;
}

/** Replace `${name}` and `${step.path}` in all texts. */
function filled(value: JsonValue, own: Record<string, string> = {}): JsonValue {
  if (typeof value === "string")
    return value.replace(/\$\{([^}]+)\}/g, (_, path: string) => own[path] ?? savedAt(path));
  if (Array.isArray(value)) return value.map((each) => filled(each, own));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, filled(each, own)]));
}

function savedAt(path: string): string {
  const found = path
    .split(".")
    .reduce((at: JsonValue | undefined, name) => (at as JsonObject | undefined)?.[name], saved);
  assert.equal(typeof found, "string", path);
  return found as string;
}

/** Assert that a message has at least what is expected. */
function includes(actual: JsonValue | undefined, expected: JsonValue, where: string): void {
  if (Array.isArray(expected)) {
    assert.ok(Array.isArray(actual) && actual.length === expected.length, `${where}: ${JSON.stringify(actual)}`);
    expected.forEach((each, place) => includes(actual[place], each, `${where}[${place}]`));
  } else if (typeof expected === "object" && expected !== null) {
    for (const [name, each] of Object.entries(expected))
      includes((actual as JsonObject | undefined)?.[name], each, `${where}.${name}`);
  } else {
    assert.equal(actual, expected, where);
  }
}
