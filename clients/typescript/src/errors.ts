// Owns the errors of calls: one base, and a parent for each kind that says what a caller does about it.

/** What a caller does about an error; `docs/clients.md` has the table. */
export type ErrorKind = "retry" | "request" | "access" | "refused" | "fault";

/** The name of a gRPC status code. */
export type Code =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** A fact of an error, read by its name. */
export type Fact = string | bigint | Date | undefined;

/** All that an error says. */
export interface ErrorContent {
  readonly code: Code;
  readonly reason: string;
  readonly message: string;
  readonly facts: Readonly<Record<string, Fact>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly requestId?: string | undefined;
  readonly key?: string | undefined;
  readonly keys?: readonly string[] | undefined;
  readonly replayed?: boolean;
  readonly retryDelayMs?: number | undefined;
  readonly outcomeUnknown?: boolean;
  readonly index?: number | undefined;
  readonly cause?: unknown;
}

// By this, and not by its class, an error is known where a process has loaded the package twice: as a module of
// ECMAScript and as one of CommonJS.
const MARK = Symbol.for("@defter/client.LedgerError");

/**
 * An error of a call, or of an item of one. Its class says what a caller does about it ({@link RetryError},
 * {@link RequestError}, {@link AccessError}, {@link RefusedError}, {@link FaultError}), and each known reason has a
 * class of its own below those.
 */
export abstract class LedgerError extends Error {
  /** What a caller does about it. */
  abstract readonly kind: ErrorKind;
  /** The gRPC code. */
  readonly code: Code;
  /** The name in `error.proto` without its prefix, such as `INSUFFICIENT_FUNDS`; empty where no ledger spoke. */
  readonly reason: string;
  /** The facts of the reason, typed by its class. A fact that is not there or can't be read is undefined. */
  readonly facts: Readonly<Record<string, Fact>>;
  /** All facts as they travelled, also those that this client does not know. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Names the call in the server's log. */
  readonly requestId: string | undefined;
  /** The idempotency key of the call or the item; undefined where it has none. */
  readonly key: string | undefined;
  /**
   * Of a stream of transactions or a batch: the keys of all items without a known result, in their order. They may have
   * taken effect all the same where {@link outcomeUnknown} says so; send them again with the same keys.
   */
  readonly keys: readonly string[];
  /** Whether an earlier call had decided it. */
  readonly replayed: boolean;
  /** Whether the same call with the same key may be answered soon: the server is away, or asks to come again. */
  readonly retryable: boolean;
  /** After how many milliseconds the server asks to come again, if it does. */
  readonly retryDelayMs: number | undefined;
  /** Whether the call may have taken effect all the same: ask `getOutcome`, or call again with the same key. */
  readonly outcomeUnknown: boolean;
  /** Which item of a batch is to blame, from 0. */
  readonly index: number | undefined;

  constructor(content: ErrorContent) {
    super(content.message, content.cause === undefined ? undefined : { cause: content.cause });
    this.name = new.target.name;
    this.code = content.code;
    this.reason = content.reason;
    this.facts = content.facts;
    this.metadata = content.metadata;
    this.requestId = content.requestId;
    this.key = content.key;
    this.keys = content.keys ?? [];
    this.replayed = content.replayed ?? false;
    this.retryDelayMs = content.retryDelayMs;
    this.retryable = content.code === "UNAVAILABLE" || content.retryDelayMs !== undefined;
    this.outcomeUnknown = content.outcomeUnknown ?? false;
    this.index = content.index;
    Object.defineProperty(this, MARK, { value: true });
  }
}

/** Nothing was decided: the same call later, with the same key. */
export class RetryError extends LedgerError {
  override readonly kind = "retry";
}

/** The request is wrong, and would be again: mend the caller. */
export class RequestError extends LedgerError {
  override readonly kind = "request";
}

/** The caller may not do this: get the right to do it. */
export class AccessError extends LedgerError {
  override readonly kind = "access";
}

/** The state of the ledger does not allow it: decide anew, with a new key. */
export class RefusedError extends LedgerError {
  override readonly kind = "refused";
}

/** Something failed that should not: ask `getOutcome`, or make the same call with the same key. */
export class FaultError extends LedgerError {
  override readonly kind = "fault";
}

/** Whether a value is an error of the ledger, whichever copy of this package made it. */
export function isLedgerError(value: unknown): value is LedgerError {
  return typeof value === "object" && value !== null && MARK in value;
}

/** The journal that a watch reads is not one: a record is missing, or its proof is wrong. Nothing was skipped. */
export class JournalBrokenError extends Error {
  /** The record that does not follow. */
  readonly sequence: bigint;

  constructor(sequence: bigint, message: string) {
    super(message);
    this.name = "JournalBrokenError";
    this.sequence = sequence;
  }
}
