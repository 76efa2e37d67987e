// Owns the proof that decimals become minor units exactly or not at all, and that pauses keep their bounds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AmountError, Currencies, money } from "@defter/client";
import { pauseMs } from "../dist/esm/tries.js";

const own = new Currencies({ POINTS: 0, GOLD: 9 });

for (const [decimal, code, minor] of [
  ["12.50", "EUR", 1250n],
  ["12.5", "EUR", 1250n],
  ["12", "EUR", 1200n],
  ["0.01", "EUR", 1n],
  ["12.500", "EUR", 1250n],
  ["-3.07", "EUR", -307n],
  ["0012.50", "EUR", 1250n],
  ["1500", "JPY", 1500n],
  ["1500.0", "JPY", 1500n],
  ["1.234", "KWD", 1234n],
  ["0.00000001", "BTC", 1n],
  ["0.1", "USDT", 100_000n],
  ["7", "POINTS", 7n],
  ["0.000000001", "GOLD", 1n],
  ["92233720368547758.07", "EUR", 9223372036854775807n],
] as const) {
  test(`${decimal} ${code} is ${minor}`, () => assert.equal(own.minor(decimal, code), minor));
}

for (const [decimal, code] of [
  ["12.505", "EUR"],
  ["0.1", "JPY"],
  ["0.5", "POINTS"],
  ["0.000000001", "BTC"],
  ["92233720368547758.08", "EUR"],
  ["", "EUR"],
  [".5", "EUR"],
  ["5.", "EUR"],
  ["1,50", "EUR"],
  ["1_000", "EUR"],
  ["1e3", "EUR"],
  ["+1", "EUR"],
  [" 1", "EUR"],
  ["1\n", "EUR"],
  ["٣", "EUR"],
  ["NaN", "EUR"],
  ["0x10", "EUR"],
  ["1.00", "XXX"],
  ["1.00", "eur"],
  ["1.00", "toString"],
] as const) {
  test(`${JSON.stringify(decimal)} ${code} is refused`, () =>
    assert.throws(() => own.minor(decimal, code), AmountError));
}

test("a number is refused, for 0.1 is none", () => {
  // @ts-expect-error a number is no decimal text
  assert.throws(() => money(0.1, "EUR"), AmountError);
  // @ts-expect-error a number is no decimal text
  assert.throws(() => money(10, "EUR"), AmountError);
});

test("minor units become a decimal and the same minor units again", () => {
  for (let round = 0; round < 2_000; round += 1) {
    const code = ["EUR", "JPY", "KWD", "BTC", "POINTS", "GOLD"][round % 6]!;
    const minor = BigInt(Math.floor((Math.random() - 0.5) * 10 ** (1 + (round % 15))));
    assert.equal(own.minor(own.decimal(minor, code), code), minor, `${minor} ${code}`);
  }
  assert.deepEqual(
    [own.decimal(-7n, "EUR"), own.decimal(7n, "POINTS"), own.decimal(0n, "BTC")],
    ["-0.07", "7", "0.00000000"],
  );
});

test("an amount can be spread into a posting", () => {
  assert.deepEqual(
    { accountId: "house", ...money("1.00", "EUR") },
    { accountId: "house", amountMinor: 100n, currencyCode: "EUR" },
  );
});

test("the registry of a server has its currencies and no others", () => {
  const listed = Currencies.of([{ currencyCode: "ETH", decimalPlaces: 18 }]);
  assert.equal(listed.minor("1", "ETH"), 10n ** 18n);
  assert.throws(() => listed.minor("1", "EUR"), AmountError);
});

test("a pause is never before the server wants it, nor behind the deadline", () => {
  for (let round = 0; round < 5_000; round += 1) {
    const failures = 1 + (round % 40);
    const leftMs = Math.random() * 20_000;
    const askedMs = round % 3 === 0 ? undefined : Math.random() * 10_000 - 100;
    const random = round % 7 === 0 ? 1 : Math.random();
    const pause = pauseMs({ failures, askedMs, leftMs, random });
    const asked = Math.max(askedMs ?? 0, 0);
    if (pause === undefined) assert.ok(leftMs - asked < 10);
    else
      assert.ok(
        asked <= pause && pause <= leftMs + 1e-6 && pause - asked <= 1e-6 + Math.min(50 * 2 ** (failures - 1), 2_000),
      );
  }
  assert.equal(pauseMs({ failures: 1, askedMs: undefined, leftMs: Infinity, random: 1 }), 50);
  assert.equal(pauseMs({ failures: 4, askedMs: 30, leftMs: Infinity, random: 0.5 }), 230);
  assert.equal(pauseMs({ failures: 1_000, askedMs: undefined, leftMs: Infinity, random: 1 }), 2_000);
});
