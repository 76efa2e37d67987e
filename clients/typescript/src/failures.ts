// Owns how a failed call, or a refused item, becomes the error of its reason.
import { fromBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { status as statusCodes, type Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  AccessError,
  FaultError,
  RefusedError,
  RequestError,
  RetryError,
  isLedgerError,
  type Code,
  type ErrorContent,
  type Fact,
  type LedgerError,
} from "./errors.js";
import type { Rejection } from "./gen/defter/ledger/v1/error_pb.js";
import { REASONS, type ReasonName } from "./gen/errors.js";
import { ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema, type Status } from "./gen/google/rpc/status_pb.js";

/** The class of a reason, such as `InsufficientFundsError` of `INSUFFICIENT_FUNDS`. */
export type ErrorOf<R extends ReasonName> = InstanceType<(typeof REASONS)[R]["error"]>;

/** What a call knows of itself when it fails. */
export interface Circumstances {
  /** Its key; undefined where it has none. */
  readonly key?: string | undefined;
  /** The keys of its items without a known result. */
  readonly keys?: readonly string[] | undefined;
  /** Whether it changes something: of a read nobody doubts what became of it while the server is away. */
  readonly changes?: boolean | undefined;
  /** Whether an earlier try of it may have taken effect. */
  readonly unknownBefore?: boolean;
  /** What the call itself knows of its outcome; without it that follows from the failure. */
  readonly outcomeUnknown?: boolean | undefined;
}

/** A failure that no server told: the client's own, of a connection or of its caller. */
export class Unspoken extends Error {
  readonly code: "CANCELLED" | "DEADLINE_EXCEEDED" | "INTERNAL" | "UNAVAILABLE";

  constructor(code: Unspoken["code"], message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

type ErrorClass = new (content: ErrorContent) => LedgerError;
interface Entry {
  readonly number: number;
  readonly code: Code;
  readonly error: ErrorClass;
  readonly facts: Readonly<Record<string, readonly [name: string, type: "text" | "integer" | "time"]>>;
}

const ENTRIES: ReadonlyMap<string, Entry> = new Map(Object.entries(REASONS));
const BY_NUMBER: ReadonlyMap<number, string> = new Map(
  Object.entries(REASONS).map(([reason, { number }]) => [number, reason]),
);
const RETRY_CODES: ReadonlySet<Code> = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "DEADLINE_EXCEEDED"]);
// Without a reason of the ledger nobody knows how far the call had come.
const OPEN_CODES: ReadonlySet<Code> = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL"]);
// All other reasons tell that nothing was begun, or what was decided.
const OPEN_REASONS: ReadonlySet<string> = new Set(["STORE_UNAVAILABLE", "PERSONAL_KEYS_MISSING", "INTERNAL"]);
// Reasons up to here say that this call has decided nothing.
const LAST_UNDECIDED = 99;
// How the transport tells of a call that ended without a status: its connection broke, or something between reset it.
const BROKEN = /^(Received RST_STREAM with code [02]\b|Call cancelled$)/;
const DOMAIN = "defter";
const INTEGER = /^-?\d{1,40}$/;

/** Whether a value is the error of a reason; narrows it to the reason's class. */
export function hasReason<R extends ReasonName>(value: unknown, reason: R): value is ErrorOf<R> {
  return isLedgerError(value) && value.reason === reason;
}

/**
 * Return the error of a failed call. What is no failure of a call, such as a file that can't be read, comes back as it
 * is, unless an earlier try may have taken effect: then that is what the caller has to know.
 */
export function errorOf(failure: unknown, circumstances: Circumstances = {}): unknown {
  if (isServiceError(failure)) return ledgerErrorOf(failure, circumstances);
  if (failure instanceof Unspoken) return unspoken(failure.code, failure.message, circumstances, failure.cause);
  if (!circumstances.unknownBefore || isLedgerError(failure)) return failure;
  const message = failure instanceof Error ? failure.message : String(failure);
  return unspoken("UNKNOWN", `the call was not made again: ${message}`, circumstances, failure);
}

/** Return the failure of a call that was given up by its caller. */
export function cancelled(signal: AbortSignal): Unspoken {
  return new Unspoken("CANCELLED", "the caller has given the call up", signal.reason);
}

/** Return the error of a call that was given up by its caller. */
export function cancelledError(signal: AbortSignal, circumstances: Circumstances = {}): unknown {
  return errorOf(cancelled(signal), circumstances);
}

function unspoken(code: Code, message: string, circumstances: Circumstances, cause: unknown): LedgerError {
  const { key, keys } = circumstances;
  const outcomeUnknown = isUnknown("", undefined, code, circumstances);
  const content = { code, reason: "", message, facts: {}, metadata: {}, key, keys, outcomeUnknown, cause };
  return new (classOf(code, false))(content);
}

/** Whether nobody knows, after all tries so far, whether the call has taken effect. */
function isUnknown(reason: string, entry: Entry | undefined, code: Code, circumstances: Circumstances): boolean {
  const { changes = false, unknownBefore = false, outcomeUnknown } = circumstances;
  if (outcomeUnknown !== undefined) return outcomeUnknown;
  const isOpen = entry === undefined ? OPEN_CODES.has(code) : OPEN_REASONS.has(reason);
  if (isOpen && (changes || code !== "UNAVAILABLE")) return true;
  const isDecided = entry !== undefined && (entry.number > LAST_UNDECIDED || reason === "IDEMPOTENCY_KEY_REUSED");
  return unknownBefore && !isDecided;
}

/**
 * Return the error of a refused item of a batch, a stream or the journal: the same that a call of its own would have
 * thrown.
 */
export function rejectionError(
  rejection: Rejection,
  item: { readonly key?: string; readonly replayed?: boolean; readonly index?: number } = {},
): LedgerError {
  const reason = BY_NUMBER.get(rejection.reason) ?? `ERROR_REASON_${rejection.reason}`;
  const entry = ENTRIES.get(reason);
  // What a newer server calls by a number is a decision of the ledger, or the item would not have this form.
  const error = entry?.error ?? RefusedError;
  return new error({
    code: entry?.code ?? "UNKNOWN",
    reason,
    message: rejection.message,
    facts: factsOf(entry, rejection.metadata),
    metadata: { ...rejection.metadata },
    ...item,
  });
}

function ledgerErrorOf(failure: ServiceError, circumstances: Circumstances): LedgerError {
  const code = codeOf(failure);
  const told = statusOf(failure.metadata);
  const spoken = detail(told, ErrorInfoSchema);
  // Something between has reasons of its own; they are none of the ledger's.
  const info = spoken?.domain === DOMAIN ? spoken : undefined;
  const reason = info?.reason ?? "";
  const entry = ENTRIES.get(reason);
  const delay = detail(told, RetryInfoSchema)?.retryDelay;
  const error = entry?.error ?? classOf(code, reason !== "");
  const facts = factsOf(entry, info?.metadata ?? {});
  return new error({
    code,
    reason,
    message: failure.details,
    facts,
    metadata: { ...info?.metadata },
    requestId: detail(told, RequestInfoSchema)?.requestId ?? text(failure.metadata, "x-request-id"),
    key: circumstances.key,
    keys: circumstances.keys,
    replayed: text(failure.metadata, "idempotent-replayed") === "true",
    retryDelayMs: delay && Math.max(Number(delay.seconds) * 1e3 + delay.nanos / 1e6, 0),
    outcomeUnknown: isUnknown(reason, entry, code, circumstances),
    index: typeof facts["index"] === "bigint" ? Number(facts["index"]) : indexOf(info?.metadata["index"]),
    cause: failure,
  });
}

// A server that is gone is away, whatever the transport calls that.
function codeOf({ code, details, metadata }: ServiceError): Code {
  const isBroken = BROKEN.test(details) && Object.keys(metadata.getMap()).length === 0;
  return isBroken ? "UNAVAILABLE" : ((statusCodes[code] ?? "UNKNOWN") as Code);
}

/** The class of what has no class of its own: no ledger spoke, or a newer one than this client. */
function classOf(code: Code, spoken: boolean): ErrorClass {
  if (code === "UNAUTHENTICATED" || code === "PERMISSION_DENIED") return AccessError;
  if (code === "INVALID_ARGUMENT") return RequestError;
  if (code === "UNAVAILABLE" || (spoken && RETRY_CODES.has(code))) return RetryError;
  return code === "INTERNAL" || !spoken ? FaultError : RefusedError;
}

function factsOf(entry: Entry | undefined, metadata: Readonly<Record<string, string>>): Record<string, Fact> {
  const facts = Object.entries(entry?.facts ?? {});
  return Object.fromEntries(facts.map(([field, [name, type]]) => [field, factOf(metadata[name], type)]));
}

function factOf(told: string | undefined, type: "text" | "integer" | "time"): Fact {
  if (told === undefined || type === "text") return told;
  if (type === "integer") return INTEGER.test(told) ? BigInt(told) : undefined;
  const time = new Date(told);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

function indexOf(told: string | undefined): number | undefined {
  return told !== undefined && /^\d{1,9}$/.test(told) ? Number(told) : undefined;
}

// What can't be read, written by a proxy perhaps, says nothing.
function statusOf(metadata: Metadata): Status | undefined {
  const [bytes] = metadata.get("grpc-status-details-bin");
  if (!(bytes instanceof Uint8Array)) return undefined;
  try {
    return fromBinary(StatusSchema, bytes);
  } catch {
    return undefined;
  }
}

function detail<D extends DescMessage>(told: Status | undefined, schema: D): MessageShape<D> | undefined {
  for (const each of told?.details ?? []) {
    try {
      const found = anyUnpack(each, schema);
      if (found !== undefined) return found;
    } catch {
      // As above: another detail may be readable.
    }
  }
  return undefined;
}

function text(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === "string" ? value : undefined;
}

function isServiceError(value: unknown): value is ServiceError {
  return value instanceof Error && "code" in value && typeof value.code === "number" && "metadata" in value;
}
