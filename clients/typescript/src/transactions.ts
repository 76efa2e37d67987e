// Owns the stream of transactions: items go out as they come, and again after a break if they have no result yet.
import { create, type DescMessage, type DescMethod, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { duplex, read, writable } from "./calls.js";
import { Unspoken } from "./failures.js";
import {
  PostTransactionItemSchema,
  StreamTransactionsRequestSchema,
  StreamTransactionsResponseSchema,
  type PostTransactionResult,
  type StreamTransactionsResponse,
} from "./gen/defter/ledger/v1/posting_pb.js";
import type { TransactionsOptions } from "./options.js";
import type { Retries } from "./retries.js";
import { Silence } from "./silence.js";
import { bytesOf, pathOf, type Call, type Wire } from "./wire.js";

/** Items of a stream. */
export type Items =
  | Iterable<MessageInitShape<typeof PostTransactionItemSchema>>
  | AsyncIterable<MessageInitShape<typeof PostTransactionItemSchema>>;

type Duplex = ClientDuplexStream<Uint8Array, StreamTransactionsResponse>;

/** An item that has no result yet. It is kept encoded, so that it is the same at each try. */
interface Waiting {
  readonly key: string;
  readonly bytes: Uint8Array;
}

const MOST_WAITING = 2_000;
// A message may have 1,000 items and 4 MiB; smaller ones are answered sooner.
const MOST_ITEMS = 200;
const MOST_BYTES = 512 * 1024;
const KEY_LENGTH = 255;
const ITEMS_FIELD = StreamTransactionsRequestSchema.field.items.number;

/** One pass over items; see `streamTransactions` of the client. */
export class TransactionStream {
  readonly #wire: Wire;
  readonly #call: Call<typeof StreamTransactionsResponseSchema>;
  readonly #retries: Retries;
  readonly #header: Uint8Array;
  /** In the order of the source; the first `#sentCount` of them were sent on the connection of now. */
  readonly #waiting: Waiting[] = [];
  #sentCount = 0;
  /** Whether a result is waited for, and the caller is not at work on one that has come. */
  #isReading = false;
  #sourceHasEnded = false;
  #sourceError: { readonly error: unknown } | undefined;
  #isOver = false;
  #wake: () => void = () => {};
  #change: Promise<void> = this.#nextChange();

  constructor(wire: Wire, method: DescMethod, options: TransactionsOptions) {
    this.#wire = wire;
    this.#call = {
      path: pathOf(method),
      output: StreamTransactionsResponseSchema,
      options,
      changes: true,
      keys: () => this.#waiting.map(({ key }) => key),
      // Each may have been decided without its result having come, whatever the last connection ended with.
      outcomeUnknown: () => this.#waiting.length > 0,
    };
    this.#retries = wire.retries(this.#call);
    this.#header = wire.encode(StreamTransactionsRequestSchema, { tenantId: options.tenantId ?? "" });
  }

  /** Send items and return their results, in their order, one for each. */
  async *results(items: Items): AsyncGenerator<PostTransactionResult, void> {
    const { signal } = this.#call.options;
    const wake = (): void => this.#changed();
    signal?.addEventListener("abort", wake);
    void this.#take(items);
    try {
      while (await this.#hasWork()) {
        try {
          yield* this.#exchange();
          if (this.#waiting.length > 0) {
            throw new Unspoken("UNAVAILABLE", "the server has ended the stream before its results");
          }
        } catch (failure) {
          // Where nothing waited for a result, the time without one was the source's or the reader's.
          if (this.#waiting.length === 0) this.#retries.tries.renew();
          // Of a stream that has all its results it does not matter how the call ended.
          if (this.#waiting.length > 0 || !this.#sourceHasEnded) await this.#retries.after(failure);
        }
      }
    } finally {
      this.#isOver = true;
      this.#changed();
      signal?.removeEventListener("abort", wake);
    }
    if (this.#sourceError !== undefined) throw this.#sourceError.error;
  }

  /** Take items from their source as long as there is room. */
  async #take(items: Items): Promise<void> {
    try {
      for await (const item of items) {
        const message = create(PostTransactionItemSchema, item);
        const waiting = { key: message.idempotencyKey, bytes: bytesOf(PostTransactionItemSchema, message) };
        // The time in which a result must come begins with the first that waits for one.
        if (this.#waiting.length === 0) this.#retries.tries.renew();
        this.#waiting.push(waiting);
        this.#changed();
        while (this.#waiting.length >= MOST_WAITING && !this.#isOver) await this.#change;
        if (this.#isOver) return;
      }
    } catch (error) {
      // What came before it is still answered.
      this.#sourceError = { error };
    }
    this.#sourceHasEnded = true;
    this.#retries.tries.renew();
    this.#changed();
  }

  /** Wait until there is an item without a result; return whether there is one at all. */
  async #hasWork(): Promise<boolean> {
    const { signal } = this.#call.options;
    while (this.#waiting.length === 0 && !this.#sourceHasEnded && !signal?.aborted) await this.#change;
    if (signal?.aborted) throw this.#retries.errorOf(undefined);
    return this.#waiting.length > 0;
  }

  /** Send and receive on one connection, until it ends. */
  async *#exchange(): AsyncGenerator<PostTransactionResult, void> {
    const { tries } = this.#retries;
    const { signal } = this.#call.options;
    const timeoutMs = this.#wire.timeoutOf(this.#call.options);
    const silence = new Silence(
      signal,
      Math.min(timeoutMs / 4, 1_000),
      () => this.#isReading && (this.#waiting.length > 0 || this.#sourceHasEnded) && tries.leftMs() === 0,
    );
    try {
      const attempt = await this.#wire.attempt<DescMessage>(this.#call, tries.leftMs());
      // What bounds a stream is the time without a result, not the time of the stream.
      const call = duplex({ ...attempt, leftMs: Infinity }) as Duplex;
      this.#sentCount = 0;
      void this.#send(call);
      this.#isReading = true;
      for await (const { results } of read(call, silence.signal)) {
        this.#isReading = false;
        for (const result of results) yield this.#answered(result);
        if (results.length > 0) tries.renew();
        this.#isReading = true;
      }
    } catch (failure) {
      throw silence.isDue ? new Unspoken("DEADLINE_EXCEEDED", "no result has come in time") : failure;
    } finally {
      this.#isReading = false;
      silence.end();
    }
  }

  async #send(call: Duplex): Promise<void> {
    let isOpen = true;
    const close = (): void => {
      isOpen = false;
      this.#changed();
    };
    call.on("status", close).on("error", close);
    while (isOpen && !this.#isOver) {
      const message = this.#nextMessage();
      if (message !== undefined) {
        if (!call.write(message)) await writable(call);
      } else if (this.#sourceHasEnded) {
        call.end();
        return;
      } else {
        await this.#change;
      }
    }
  }

  /** Return a message with the next items that were not sent yet, if there are any. */
  #nextMessage(): Uint8Array | undefined {
    const writer = new BinaryWriter().raw(this.#header);
    let size = 0;
    const first = this.#sentCount;
    for (const { bytes } of this.#waiting.slice(first, first + MOST_ITEMS)) {
      if (size > 0 && size + bytes.length > MOST_BYTES) break;
      writer.tag(ITEMS_FIELD, WireType.LengthDelimited).bytes(bytes);
      size += bytes.length;
      this.#sentCount += 1;
    }
    return this.#sentCount === first ? undefined : writer.finish();
  }

  #answered(result: PostTransactionResult): PostTransactionResult {
    const [item] = this.#sentCount > 0 ? this.#waiting : [];
    if (item === undefined || resultKeyOf(item.key) !== result.idempotencyKey) {
      const text = `the result of ${result.idempotencyKey} came where that of ${item?.key ?? "none"} follows`;
      throw new Unspoken("INTERNAL", text);
    }
    this.#waiting.shift();
    this.#sentCount -= 1;
    this.#changed();
    return result;
  }

  /** Wake up whoever waits for something to change. */
  #changed(): void {
    const wake = this.#wake;
    this.#change = this.#nextChange();
    wake();
  }

  #nextChange(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Return how a result names an item: of a key that is too long it has the beginning. */
function resultKeyOf(key: string): string {
  return key.length <= KEY_LENGTH ? key : Array.from(key).slice(0, KEY_LENGTH).join("");
}
