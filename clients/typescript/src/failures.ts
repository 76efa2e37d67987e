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
  /** Whether an earlier try of it may have taken effect. */
  readonly unknownBefore?: boolean;
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
const UNKNOWN_OUTCOMES: ReadonlySet<Code> = new Set(["INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED"]);
// How the transport tells of a call that ended without a status: its connection broke, or something between reset it.
const BROKEN = /^(Received RST_STREAM with code [02]\b|Call cancelled$)/;
const DOMAIN = "defter";
const INTEGER = /^-?\d{1,40}$/;

/** Whether a value is the error of a reason; narrows it to the reason's class. */
export function hasReason<R extends ReasonName>(value: unknown, reason: R): value is ErrorOf<R> {
  return isLedgerError(value) && value.reason === reason;
}

/** Return the error of a failed call; what is no failure of a call comes back as it is. */
export function errorOf(failure: unknown, circumstances: Circumstances = {}): unknown {
  return isServiceError(failure) ? ledgerErrorOf(failure, circumstances) : failure;
}

/** Return the error of a call that was given up by its caller. */
export function cancelledError(signal: AbortSignal, { key }: Circumstances = {}): LedgerError {
  const message = "the caller has given the call up";
  return new FaultError({ ...unspoken("CANCELLED", message), key, outcomeUnknown: true, cause: signal.reason });
}

/** Return the error of a call whose time is up. */
export function deadlineError(message: string): LedgerError {
  return new FaultError({ ...unspoken("DEADLINE_EXCEEDED", message), outcomeUnknown: true });
}

/** Return the error of a connection that says nothing any more. */
export function brokenError(message: string): LedgerError {
  return new RetryError(unspoken("UNAVAILABLE", message));
}

function unspoken(code: Code, message: string): ErrorContent {
  return { code, reason: "", message, facts: {}, metadata: {} };
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

function ledgerErrorOf(failure: ServiceError, { key, unknownBefore = false }: Circumstances): LedgerError {
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
  const mayHaveHappened = UNKNOWN_OUTCOMES.has(code) || (code === "UNAVAILABLE" && key !== undefined);
  return new error({
    code,
    reason,
    message: failure.details,
    facts,
    metadata: { ...info?.metadata },
    requestId: detail(told, RequestInfoSchema)?.requestId ?? text(failure.metadata, "x-request-id"),
    key,
    replayed: text(failure.metadata, "idempotent-replayed") === "true",
    retryDelayMs: delay && Math.max(Number(delay.seconds) * 1e3 + delay.nanos / 1e6, 0),
    outcomeUnknown: mayHaveHappened || unknownBefore,
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
