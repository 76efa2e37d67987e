// Owns what all calls of a client share: its connections, its headers, its tenant, and when a call is made again.
import {
  clone,
  create,
  equals,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Metadata } from "@grpc/grpc-js";
import type { Attempt } from "./calls.js";
import { Channels } from "./channels.js";
import { cancelled } from "./failures.js";
import type { CallOptions, ClientOptions } from "./options.js";
import { ProofFiles } from "./proof.js";
import { Retries } from "./retries.js";
import { Tries } from "./tries.js";

const TIMEOUT_MS = 10_000;
// What encoders write where a text has half a surrogate pair.
const REPLACEMENT = "\ufffd";

/** What a call is, whichever of its tries is under way. */
export interface Call<O extends DescMessage> {
  readonly path: string;
  readonly output: O;
  readonly options: CallOptions;
  /** The idempotency key; undefined where the call has none. */
  readonly key?: string | undefined;
  /** Whether it changes something. */
  readonly changes?: boolean | undefined;
  /** Tells the keys of its items without a known result. */
  readonly keys?: (() => readonly string[]) | undefined;
  /** Tells whether some of it may have taken effect. */
  readonly outcomeUnknown?: (() => boolean) | undefined;
}

/** A client as its calls see it. */
export class Wire {
  readonly #channels: Channels;
  readonly #proof: ProofFiles;
  readonly #options: ClientOptions;

  constructor(addresses: readonly string[], options: ClientOptions) {
    this.#proof = new ProofFiles(options.proof ?? {});
    this.#channels = new Channels(addresses, this.#proof, options.channelOptions ?? {});
    this.#options = options;
    this.timeoutOf({});
  }

  /** The tenant that stands in for an empty one. */
  get tenantId(): string {
    return this.#options.tenantId ?? "";
  }

  /**
   * Return how long a call may take, in milliseconds.
   *
   * @throws TypeError - it is told, and is no number: gRPC would end the process for it.
   */
  timeoutOf({ timeoutMs = this.#options.timeoutMs ?? TIMEOUT_MS }: Pick<CallOptions, "timeoutMs">): number {
    if (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs)) {
      throw new TypeError(`a timeout is a number of milliseconds, and not ${String(timeoutMs)}`);
    }
    return timeoutMs;
  }

  /** Close the connections. */
  close(): void {
    this.#channels.close();
  }

  /** Return the bytes of a request with its tenant, and its key if it has one; the caller's message stays as it is. */
  encode<I extends DescMessage>(input: I, request: MessageInitShape<I>, key?: string): Uint8Array {
    return bytesOf(input, this.complete(input, request, key));
  }

  /** Return the message that {@link encode} encodes. */
  complete<I extends DescMessage>(input: I, request: MessageInitShape<I>, key?: string): MessageShape<I> {
    const given: object = request;
    const made = create(input, request);
    const message = made === given ? clone(input, made) : made;
    const fields = message as { tenantId?: unknown; idempotencyKey?: unknown };
    if (fields.tenantId === "") fields.tenantId = this.tenantId;
    if (key !== undefined) fields.idempotencyKey = key;
    return message;
  }

  /** Return one try of a call: on the next channel, with the token of now. */
  async attempt<O extends DescMessage>(call: Call<O>, leftMs: number): Promise<Attempt<O>> {
    const { path, output, options } = call;
    if (options.signal?.aborted) throw cancelled(options.signal);
    const client = await this.#channels.next(leftMs);
    return { client, path, output, leftMs, metadata: this.#headers(options), signal: options.signal };
  }

  /**
   * Make a call until it is answered, there is no time for another try, or it is given up.
   *
   * @param once - makes one try.
   */
  async untilAnswered<O extends DescMessage, R>(call: Call<O>, once: (attempt: Attempt<O>) => Promise<R>): Promise<R> {
    const retries = this.retries(call);
    for (;;) {
      try {
        return await once(await this.attempt(call, retries.tries.leftMs()));
      } catch (failure) {
        await retries.after(failure);
      }
    }
  }

  /** Return what follows when tries of a call fail. */
  retries(call: Call<DescMessage>): Retries {
    return new Retries(call, new Tries(this.timeoutOf(call.options)));
  }

  #headers({ metadata }: CallOptions): Metadata {
    const headers = new Metadata();
    for (const [name, value] of Object.entries({ ...this.#options.metadata, ...metadata })) headers.set(name, value);
    const token = this.#proof.token();
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    const traceparent = this.#options.traceparent?.();
    if (traceparent !== undefined) headers.set("traceparent", traceparent);
    return headers;
  }
}

/**
 * Return the bytes of a message that say what it says.
 *
 * @throws TypeError - a text is no Unicode: it would become another text, and two keys perhaps the same.
 */
export function bytesOf<I extends DescMessage>(schema: I, message: MessageShape<I>): Uint8Array {
  const bytes = toBinary(schema, message);
  const isReplaced = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(REPLACEMENT);
  if (isReplaced && !equals(schema, message, fromBinary(schema, bytes))) {
    throw new TypeError(`a text of ${schema.name} has half a surrogate pair, which is no Unicode`);
  }
  return bytes;
}

/** Return the path of a method on the wire. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
