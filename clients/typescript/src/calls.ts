// Owns one try of a call over gRPC, of each of its four forms. Nothing here is tried again.
import { fromBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import type { CallOptions, Client, ClientDuplexStream, ClientWritableStream, Metadata } from "@grpc/grpc-js";

/** One try: where it goes, and what bounds it. */
export interface Attempt<O extends DescMessage> {
  readonly client: Client;
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly output: O;
  readonly metadata: Metadata;
  /** Milliseconds; Infinity: none. */
  readonly leftMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** An answer, and what its call said behind it. */
export interface Answer<R> {
  readonly response: R;
  readonly trailers: Metadata;
}

/** Bytes of requests, as they come. */
export type Sent = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

// gRPC fails where a deadline lies further ahead than it can write, and nobody could catch that.
const MOST_MS = 365 * 86_400_000;

/** What the caller's own iterator has thrown: it counts, and not that the call was given up for it. */
interface Thrown {
  error?: unknown;
}

interface Cancellable {
  cancel(): void;
}

/** Send one message and return one. */
export function unary<O extends DescMessage>(
  attempt: Attempt<O>,
  request: Uint8Array,
): Promise<Answer<MessageShape<O>>> {
  const { client, path, output, metadata } = attempt;
  return answered<MessageShape<O>>(attempt, (done) =>
    client.makeUnaryRequest(path, asBuffer, decoder(output), request, metadata, options(attempt), done),
  );
}

/** Send messages and return one. */
export function collected<O extends DescMessage>(
  attempt: Attempt<O>,
  requests: Sent,
): Promise<Answer<MessageShape<O>>> {
  const { client, path, output, metadata } = attempt;
  const thrown: Thrown = {};
  const answer = answered<MessageShape<O>>(attempt, (done) => {
    const call = client.makeClientStreamRequest(path, asBuffer, decoder(output), metadata, options(attempt), done);
    void send(call, requests, thrown);
    return call;
  });
  return answer.catch((error: unknown) => {
    throw thrown.error ?? error;
  });
}

/** Send one message and return messages until there are no more; whoever stops reading cancels the call. */
export async function* streamed<O extends DescMessage>(
  attempt: Attempt<O>,
  request: Uint8Array,
): AsyncGenerator<MessageShape<O>, void> {
  const { client, path, output, metadata } = attempt;
  const call = client.makeServerStreamRequest(path, asBuffer, decoder(output), request, metadata, options(attempt));
  yield* read(call, attempt.signal);
}

/** Send messages, and return others until there are no more; whoever stops reading cancels the call. */
export async function* exchanged<O extends DescMessage>(
  attempt: Attempt<O>,
  requests: Sent,
): AsyncGenerator<MessageShape<O>, void> {
  const call = duplex(attempt);
  const thrown: Thrown = {};
  void send(call, requests, thrown);
  try {
    yield* read(call, attempt.signal);
  } catch (error) {
    throw thrown.error ?? error;
  }
}

/** Open a call in which both sides send. */
export function duplex<O extends DescMessage>(attempt: Attempt<O>): ClientDuplexStream<Uint8Array, MessageShape<O>> {
  const { client, path, output, metadata } = attempt;
  return client.makeBidiStreamRequest(path, asBuffer, decoder(output), metadata, options(attempt));
}

/** Read a call to its end; whoever stops before cancels it. */
export async function* read<R>(
  call: AsyncIterable<R> & Cancellable & NodeJS.EventEmitter,
  signal: AbortSignal | undefined,
): AsyncGenerator<R, void> {
  // gRPC tells an error also of a call that nobody reads any more, and an error that nobody hears ends the process.
  call.on("error", () => {});
  const release = cancelOn(signal, call);
  try {
    yield* call;
  } finally {
    release();
    call.cancel();
  }
}

/** Return once a call can be written to again, or has ended. */
export function writable(call: NodeJS.EventEmitter): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off("drain", done).off("status", done).off("error", done);
      resolve();
    };
    call.on("drain", done).on("status", done).on("error", done);
  });
}

async function send(call: ClientWritableStream<Uint8Array>, requests: Sent, thrown: Thrown): Promise<void> {
  let ended = false;
  call.on("status", () => (ended = true)).on("error", () => (ended = true));
  try {
    for await (const request of requests) {
      if (ended) return;
      if (!call.write(request)) await writable(call);
    }
    call.end();
  } catch (error) {
    thrown.error = error;
    call.cancel();
  }
}

function answered<R>(
  { signal }: { readonly signal?: AbortSignal | undefined },
  start: (done: (error: Error | null, response?: R) => void) => Cancellable & NodeJS.EventEmitter,
): Promise<Answer<R>> {
  return new Promise((resolve, reject) => {
    let response: R | undefined;
    const call = start((error, found) => {
      if (error) reject(error);
      else response = found;
    });
    const release = cancelOn(signal, call);
    call.on("error", () => {});
    // The status comes behind the response, with the trailing metadata.
    call.on("status", ({ metadata: trailers }: { metadata: Metadata }) => {
      release();
      if (response !== undefined) resolve({ response, trailers });
    });
  });
}

function cancelOn(signal: AbortSignal | undefined, call: Cancellable): () => void {
  const cancel = (): void => call.cancel();
  signal?.addEventListener("abort", cancel, { once: true });
  if (signal?.aborted) cancel();
  return () => signal?.removeEventListener("abort", cancel);
}

function options({ leftMs }: { readonly leftMs: number }): CallOptions {
  // A call whose time is up is still made, and told so by gRPC.
  return leftMs === Infinity ? {} : { deadline: Date.now() + Math.min(Math.max(leftMs, 1), MOST_MS) };
}

function decoder<O extends DescMessage>(output: O): (bytes: Buffer) => MessageShape<O> {
  return (bytes) => fromBinary(output, bytes);
}

// Requests are encoded once, so that all tries send the same.
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
