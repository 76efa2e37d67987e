// Owns how each RPC of a service becomes a method: its form follows from the descriptor, in types and at run time.
import type { DescMessage, DescMethod, DescService, Message, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { collected, exchanged, streamed, unary } from "./calls.js";
import type { Answer, Attempt } from "./calls.js";
import { newKey } from "./keys.js";
import { List, type Page } from "./lists.js";
import type { CallOptions, KeyedOptions } from "./options.js";
import type { Retries } from "./retries.js";
import { bytesOf, pathOf, type Call, type Wire } from "./wire.js";

/** The answer of a keyed call. */
export interface Keyed<R> {
  readonly response: R;
  /** The key that was used. */
  readonly key: string;
  /** Whether an earlier call had decided the outcome. */
  readonly replayed: boolean;
}

/** The answers of a keyed call, as they come. */
export interface KeyedStream<R> extends AsyncIterable<R> {
  /** The key that is used. */
  readonly key: string;
}

/** Requests of a stream. Those of an array are sent again after a break before the first answer, others never. */
export type Requests<I extends DescMessage> = Iterable<MessageInitShape<I>> | AsyncIterable<MessageInitShape<I>>;

// By their names, as the server counts reads too.
const CHANGES_NOTHING = /^(Get|List|BatchGet|Count|Verify|Watch)/;

// GetOutcome asks about a key and is not keyed itself; only it names the method that a key belongs to.
type IsKeyed<I extends DescMessage> =
  MessageShape<I> extends { idempotencyKey: string }
    ? MessageShape<I> extends { method: string }
      ? false
      : true
    : false;

type UnaryCall<I extends DescMessage, O extends DescMessage> =
  IsKeyed<I> extends true
    ? (request: MessageInitShape<I>, options?: KeyedOptions) => Promise<Keyed<MessageShape<O>>>
    : MessageShape<I> extends { pageToken: string }
      ? MessageShape<O> extends Page
        ? (request: MessageInitShape<I>, options?: CallOptions) => List<MessageShape<O>>
        : never
      : (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>;

type ServerStreamCall<I extends DescMessage, O extends DescMessage> =
  IsKeyed<I> extends true
    ? (request: MessageInitShape<I>, options?: KeyedOptions) => KeyedStream<MessageShape<O>>
    : (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>;

/** The form of a method, from its descriptor. */
export type MethodOf<M> = M extends {
  methodKind: infer K;
  input: infer I extends DescMessage;
  output: infer O extends DescMessage;
}
  ? K extends "unary"
    ? UnaryCall<I, O>
    : K extends "server_streaming"
      ? ServerStreamCall<I, O>
      : K extends "client_streaming"
        ? (requests: Requests<I>, options?: CallOptions) => Promise<MessageShape<O>>
        : (requests: Requests<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
  : never;

/** A service: one method for each RPC. */
export type Service<S extends DescService> = { readonly [K in keyof S["method"]]: MethodOf<S["method"][K]> };

/** Return the methods of a service. */
export function serviceOf<S extends DescService>(wire: Wire, service: S): Service<S> {
  const methods = service.methods.map((method) => [method.localName, methodOf(wire, method)]);
  return Object.fromEntries(methods) as Service<S>;
}

function methodOf(wire: Wire, method: DescMethod): unknown {
  switch (method.methodKind) {
    case "unary":
      if (isKeyed(method)) return keyed(wire, method);
      return "pageToken" in method.input.field ? listed(wire, method) : once(wire, method);
    case "server_streaming":
      return serverStream(wire, method);
    case "client_streaming":
      return clientStream(wire, method);
    case "bidi_streaming":
      return bothStream(wire, method);
  }
}

function isKeyed({ input }: DescMethod): boolean {
  return "idempotencyKey" in input.field && !("method" in input.field);
}

function once(wire: Wire, method: DescMethod) {
  return async (request: Message, options: CallOptions = {}): Promise<Message> => {
    const whole = wire.complete(method.input, request);
    const call = { ...callOf(method, options), keys: () => keysOf(whole) };
    return (await called(wire, call, bytesOf(method.input, whole))).response;
  };
}

function keyed(wire: Wire, method: DescMethod) {
  return async (request: Message, options: KeyedOptions = {}): Promise<Keyed<Message>> => {
    const key = keyOf(request, options);
    const bytes = wire.encode(method.input, request, key);
    const { response, trailers } = await called(wire, { ...callOf(method, options), key }, bytes);
    return { response, key, replayed: trailers.get("idempotent-replayed")[0] === "true" };
  };
}

function listed(wire: Wire, method: DescMethod) {
  const items = method.output.fields.find((field) => field.fieldKind === "list" && field.listKind === "message");
  if (items === undefined) throw new TypeError(`${method.name} lists nothing`);
  return (request: Message & { pageToken?: string }, options: CallOptions = {}): List<Message & Page> => {
    const whole = wire.complete(method.input, request) as Message & { pageToken: string };
    const fetch = async (pageToken: string): Promise<Message & Page> => {
      const bytes = wire.encode(method.input, Object.assign({ ...whole }, { pageToken }));
      return (await called(wire, callOf(method, options), bytes)).response as Message & Page;
    };
    const itemsOf = (page: Message & Page) => page[items.localName as keyof typeof page] as unknown as never[];
    return new List(whole.pageToken, fetch, itemsOf);
  };
}

function serverStream(wire: Wire, method: DescMethod) {
  return (request: Message, options: KeyedOptions = {}): AsyncIterable<Message> & { key?: string } => {
    const key = isKeyed(method) ? keyOf(request, options) : undefined;
    const bytes = wire.encode(method.input, request, key);
    const call = { ...callOf(method, options), key };
    const stream = { [Symbol.asyncIterator]: () => begun(wire, call, (attempt) => streamed(attempt, bytes), true) };
    return key === undefined ? stream : { ...stream, key };
  };
}

function clientStream(wire: Wire, method: DescMethod) {
  return async (requests: Requests<DescMessage>, options: CallOptions = {}): Promise<Message> => {
    const call = callOf(method, options);
    const make = (attempt: Attempt<DescMessage>) => collected(attempt, encoded(wire, method, requests));
    const retries = wire.retries(call);
    for (;;) {
      try {
        return (await make(await wire.attempt(call, streamMs(call, retries)))).response;
      } catch (failure) {
        if (!Array.isArray(requests)) throw retries.errorOf(failure);
        await retries.after(failure);
      }
    }
  };
}

function bothStream(wire: Wire, method: DescMethod) {
  return (requests: Requests<DescMessage>, options: CallOptions = {}): AsyncIterable<Message> => {
    const make = (attempt: Attempt<DescMessage>) => exchanged(attempt, encoded(wire, method, requests));
    return { [Symbol.asyncIterator]: () => begun(wire, callOf(method, options), make, Array.isArray(requests)) };
  };
}

/** Return the messages of a stream, which may be begun again until the first of them has come. */
async function* begun(
  wire: Wire,
  call: Call<DescMessage>,
  make: (attempt: Attempt<DescMessage>) => AsyncGenerator<Message, void>,
  mayRepeat: boolean,
): AsyncGenerator<Message, void> {
  const retries = wire.retries(call);
  for (let hasCome = false; ;) {
    try {
      for await (const message of make(await wire.attempt(call, streamMs(call, retries)))) {
        hasCome = true;
        yield message;
      }
      return;
    } catch (failure) {
      if (hasCome || !mayRepeat) throw retries.errorOf(failure);
      await retries.after(failure);
    }
  }
}

function called(wire: Wire, call: Call<DescMessage>, bytes: Uint8Array): Promise<Answer<Message>> {
  return wire.untilAnswered(call, (attempt) => unary(attempt, bytes));
}

async function* encoded(
  wire: Wire,
  method: DescMethod,
  requests: Requests<DescMessage>,
): AsyncGenerator<Uint8Array, void> {
  for await (const request of requests) yield wire.encode(method.input, request);
}

// How long a stream takes is its caller's matter; only tries that come to nothing have an end of their own.
function streamMs({ options }: Call<DescMessage>, { tries }: Retries): number {
  return options.timeoutMs === undefined ? Infinity : tries.leftMs();
}

function callOf(method: DescMethod, options: CallOptions): Call<DescMessage> {
  return { path: pathOf(method), output: method.output, options, changes: !CHANGES_NOTHING.test(method.name) };
}

/** Return the keys that the items of a batch have. */
function keysOf(request: Message): readonly string[] {
  const { items } = request as { items?: unknown };
  if (!Array.isArray(items)) return [];
  return items.flatMap(({ idempotencyKey }: { idempotencyKey?: string }) => idempotencyKey ?? []);
}

function keyOf(request: object, { key }: KeyedOptions): string {
  const own = (request as { idempotencyKey?: string }).idempotencyKey || undefined;
  if (key !== undefined && own !== undefined && key !== own) {
    throw new TypeError(`the request has the key ${own}, and the call another: ${key}`);
  }
  return key ?? own ?? newKey();
}
