// Owns what a caller may say of a client and of a call.
import type { ChannelOptions } from "@grpc/grpc-js";
import type { Proof } from "./proof.js";

/** Of a client. */
export interface ClientOptions {
  /** Stands in for an empty tenant of a request. */
  readonly tenantId?: string;
  /** Milliseconds for a call with all its tries; 10,000 without. */
  readonly timeoutMs?: number;
  /** Who calls, to a server with TLS; without it the connection is in plaintext. */
  readonly proof?: Proof;
  /** Metadata of all calls. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Tells the W3C `traceparent` of the trace that a call belongs to, if there is one; asked at each call. */
  readonly traceparent?: () => string | undefined;
  /** More options of gRPC's channels; they win over the client's own. */
  readonly channelOptions?: ChannelOptions;
}

/** Of a call. */
export interface CallOptions {
  /** Milliseconds for the call with all its tries; the client's without, and of a stream no end. */
  readonly timeoutMs?: number;
  /** Gives the call up. It may have taken effect all the same. */
  readonly signal?: AbortSignal;
  /** Metadata of this call, beside the client's. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Of a keyed call. */
export interface KeyedOptions extends CallOptions {
  /** The idempotency key; without it the request's own, and without that one the client makes. */
  readonly key?: string;
}

/** Of a watch. It has no deadline: it ends by its signal, or when nobody reads on. */
export interface WatchOptions extends Omit<CallOptions, "timeoutMs"> {
  /** Go on behind the record of this checkpoint (`checkpointOf`), instead of `afterSequence`. */
  readonly checkpoint?: string;
  /** Check that each record's chain hash follows from the one before, and decode the record from the hashed bytes. */
  readonly verifyChain?: boolean;
  /** Is told of each break, and in how many milliseconds the watch tries again. */
  readonly onBreak?: (error: unknown, pauseMs: number) => void;
}

/** Of a stream of transactions. */
export interface TransactionsOptions extends Omit<CallOptions, "timeoutMs"> {
  /** The tenant; the client's without. */
  readonly tenantId?: string;
  /** Milliseconds that may pass, with all tries, while items wait and no result comes; the client's without. */
  readonly timeoutMs?: number;
}
