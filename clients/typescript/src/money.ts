// Owns how decimal texts become minor units: exactly, or not at all. A number is refused: 0.1 is none of its values.
import { DECIMAL_PLACES } from "./gen/currencies.js";

const DECIMAL = /^(-?)(\d{1,40})(?:\.(\d{1,40}))?$/;
const MOST = 2n ** 63n - 1n;

/** An amount as postings and payments take it: its fields can be spread into them. */
export interface Money {
  /** Minor units. */
  readonly amountMinor: bigint;
  readonly currencyCode: string;
}

/** A text is no amount of its currency, or the currency is unknown. */
export class AmountError extends Error {
  override readonly name = "AmountError";
}

/** Currencies with their decimal places. */
export class Currencies {
  readonly #places: ReadonlyMap<string, number>;

  /**
   * @param extra - decimal places by currency, beside the shipped ones; they win.
   * @param shipped - ISO 4217 and the assets that each server has, unless it says otherwise.
   */
  constructor(
    extra: Readonly<Record<string, number>> = {},
    shipped: Readonly<Record<string, number>> = DECIMAL_PLACES,
  ) {
    this.#places = new Map(Object.entries({ ...shipped, ...extra }));
  }

  /** Return the currencies that a server has, as its `listCurrencies` answers: the only ones that bind. */
  static of(listed: Iterable<{ readonly currencyCode: string; readonly decimalPlaces: number }>): Currencies {
    return new Currencies(
      Object.fromEntries(Array.from(listed, (each) => [each.currencyCode, each.decimalPlaces])),
      {},
    );
  }

  /**
   * Return the minor units of a decimal text, such as `1250n` of `"12.50"` in EUR.
   *
   * @throws AmountError - the text is no decimal, or has no exact value in minor units.
   */
  minor(decimal: string, currencyCode: string): bigint {
    const places = this.decimalPlaces(currencyCode);
    const found = typeof decimal === "string" ? DECIMAL.exec(decimal) : null;
    if (found === null) throw new AmountError(`${String(decimal)} is no decimal text, such as "12.50"`);
    const [, sign, whole = "", behind = ""] = found;
    const beyond = behind.slice(places);
    if (/[1-9]/.test(beyond))
      throw new AmountError(`${decimal} has more than the ${places} decimal places of ${currencyCode}`);
    const minor = BigInt(whole + behind.slice(0, places).padEnd(places, "0"));
    if (minor > MOST) throw new AmountError(`${decimal} ${currencyCode} is more than a ledger can count`);
    return sign === "-" ? -minor : minor;
  }

  /** Return the decimal text of minor units, such as `"12.50"` of `1250n` in EUR. */
  decimal(amountMinor: bigint, currencyCode: string): string {
    const places = this.decimalPlaces(currencyCode);
    const digits = (amountMinor < 0n ? -amountMinor : amountMinor).toString().padStart(places + 1, "0");
    const split = digits.length - places;
    const behind = places === 0 ? "" : `.${digits.slice(split)}`;
    return `${amountMinor < 0n ? "-" : ""}${digits.slice(0, split)}${behind}`;
  }

  /** Return an amount that can be spread into a posting; throws as {@link minor} does. */
  money(decimal: string, currencyCode: string): Money {
    return { amountMinor: this.minor(decimal, currencyCode), currencyCode };
  }

  /**
   * Return how many decimal places a currency has.
   *
   * @throws AmountError - it is unknown.
   */
  decimalPlaces(currencyCode: string): number {
    const places = this.#places.get(currencyCode);
    if (places === undefined) throw new AmountError(`${currencyCode} is no currency of this registry`);
    return places;
  }
}

const SHIPPED = new Currencies();

/** Return an amount of a currency that each server has, such as `money("12.50", "EUR")`; see {@link Currencies}. */
export function money(decimal: string, currencyCode: string): Money {
  return SHIPPED.money(decimal, currencyCode);
}
