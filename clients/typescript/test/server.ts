// Owns a server for tests that need no ledger: real gRPC on a free port, whose answers each test writes down.
import { fromBinary, toBinary, create, type DescMethod, type DescService, type Message } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ServerDuplexStream,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
  type ServerUnaryCall,
  type sendUnaryData,
  type ServerReadableStream,
} from "@grpc/grpc-js";
import { ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "../dist/esm/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../dist/esm/gen/google/rpc/status_pb.js";
import type { Code } from "@defter/client";

/** What a handler fails with. */
export class Failure extends Error {
  readonly code: number;
  readonly details: string;
  readonly metadata = new Metadata();

  constructor(
    code: Code,
    told: {
      reason?: string;
      facts?: Record<string, string>;
      retryMs?: number;
      domain?: string;
      requestId?: string;
      message?: string;
    } = {},
  ) {
    super(code);
    this.code = status[code];
    this.details = told.message ?? "told by a test";
    const details = [];
    if (told.reason !== undefined) {
      const info = create(ErrorInfoSchema, {
        reason: told.reason,
        domain: told.domain ?? "defter",
        metadata: told.facts ?? {},
      });
      details.push(anyPack(ErrorInfoSchema, info));
    }
    if (told.retryMs !== undefined) {
      details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(told.retryMs) })));
    }
    if (told.requestId !== undefined) {
      details.push(anyPack(RequestInfoSchema, create(RequestInfoSchema, { requestId: told.requestId })));
    }
    if (details.length > 0) {
      const bytes = toBinary(StatusSchema, create(StatusSchema, { code: this.code, message: this.details, details }));
      this.metadata.set("grpc-status-details-bin", Buffer.from(bytes));
    }
  }
}

/** Answers by the name of the RPC; `trailers` are those of the answer. */
export type Handlers = Record<string, (...call: never[]) => unknown>;
export type UnaryHandler<I, O> = (request: I, call: { metadata: Metadata; trailers: Metadata }) => O | Promise<O>;

/** A server that runs. */
export interface Running {
  readonly port: number;
  readonly target: string;
  /** End it at once, with all its connections. */
  stop(): void;
}

/** Start a server with the methods of services that handlers are given for. */
export async function serve(
  services: Record<string, DescService>,
  handlers: Handlers,
  { port = 0, credentials = ServerCredentials.createInsecure() } = {},
): Promise<Running> {
  const server = new Server();
  for (const service of Object.values(services)) {
    server.addService(definitionOf(service), implementationOf(service, handlers));
  }
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, found) => (error ? reject(error) : resolve(found)));
  });
  return { port: bound, target: `localhost:${bound}`, stop: () => server.forceShutdown() };
}

function definitionOf(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [
      method.name,
      {
        path: `/${service.typeName}/${method.name}`,
        requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
        responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
        requestSerialize: (message: Message) => Buffer.from(toBinary(method.input, message)),
        requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
        responseSerialize: (message: object) =>
          Buffer.from(toBinary(method.output, create(method.output, message as Message))),
        responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
      },
    ]),
  );
}

function implementationOf(service: DescService, handlers: Handlers): UntypedServiceImplementation {
  const given = service.methods.filter((method) => method.name in handlers);
  return Object.fromEntries(given.map((method) => [method.name, handlerOf(method, handlers[method.name]!)]));
}

function handlerOf(method: DescMethod, handler: (...call: never[]) => unknown): UntypedServiceImplementation[string] {
  const handle = handler as (...call: unknown[]) => unknown;
  // The library has one type for handlers of all forms, of which no handler of one form is a value.
  if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
    return ((
      call: ServerUnaryCall<Message, Message> & ServerReadableStream<Message, Message>,
      done: sendUnaryData<Message>,
    ) => {
      const trailers = new Metadata();
      const said = method.methodKind === "unary" ? call.request : call;
      Promise.resolve()
        .then(() => handle(said, { metadata: call.metadata, trailers, call, peer: call.getPeer() }))
        .then(
          (answer) => done(null, answer as Message, trailers),
          (failure: unknown) => done(failure as Failure),
        );
    }) as never;
  }
  return ((call: ServerWritableStream<Message, Message> & ServerDuplexStream<Message, Message>) => {
    call.on("error", () => {});
    Promise.resolve()
      .then(() => (method.methodKind === "server_streaming" ? handle(call.request, call) : handle(call)))
      .then(
        () => call.end(),
        (failure: unknown) => call.emit("error", failure),
      );
  }) as never;
}
