// Owns the proof that the first example of the README does what it says.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "node:test";
import { LedgerClient, newKey } from "@defter/client";
import { needsServers, target } from "./stack.js";

const ADDRESS = '"127.0.0.1:50051"';
const TENANT = '"demo"';

test("ten lines of the README post a transaction", needsServers, async () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const example = /```ts\n([^`]+)```/.exec(readme)?.[1] ?? "";
  const [imported, ...lines] = example
    .trimEnd()
    .split("\n")
    .filter((line) => line !== "");
  assert.match(imported!, /^import .* from "@defter\/client";$/);
  assert.ok(lines.length <= 10 && example.includes(ADDRESS) && example.includes(TENANT));

  const tenantId = `readme-${newKey().toLowerCase()}`;
  const ledger = new LedgerClient(target, { tenantId, timeoutMs: 120_000 });
  await ledger.tenants.createTenant({});
  const file = fileURLToPath(new URL("readme-example.mjs", import.meta.url));
  writeFileSync(file, example.replace(ADDRESS, JSON.stringify(target)).replace(TENANT, JSON.stringify(tenantId)));
  const runs = [await run(file), await run(file)];
  assert.match(runs[0]!, /^tx_\S+ order-17 false\n$/);
  assert.equal(runs[1], runs[0]!.replace("false", "true"), "money moved again");
  const { balance } = await ledger.accounts.getBalance({ accountId: "jane" });
  assert.equal(balance?.postedBalanceMinor, 1250n);
  ledger.close();
});

async function run(file: string): Promise<string> {
  return (await promisify(execFile)(process.execPath, [file])).stdout;
}
