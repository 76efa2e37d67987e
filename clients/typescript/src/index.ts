// Owns what the package exports.
export { create, fromJson, fromJsonString, toJson, toJsonString } from "@bufbuild/protobuf";
export { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
export { checkpointOf } from "./chain.js";
export { LedgerClient, type Journal, type Postings } from "./client.js";
export {
  AccessError,
  FaultError,
  JournalBrokenError,
  LedgerError,
  RefusedError,
  RequestError,
  RetryError,
  isLedgerError,
  type Code,
  type ErrorContent,
  type ErrorKind,
  type Fact,
} from "./errors.js";
export { hasReason, rejectionError, type ErrorOf } from "./failures.js";
export * from "./gen/errors.js";
export * from "./gen/index.js";
export { newKey } from "./keys.js";
export { List, type ItemOf, type Page } from "./lists.js";
export { AmountError, Currencies, money, type Money } from "./money.js";
export type { CallOptions, ClientOptions, KeyedOptions, TransactionsOptions, WatchOptions } from "./options.js";
export { ProofUnusableError, type Proof } from "./proof.js";
export type { Keyed, KeyedStream, MethodOf, Requests, Service } from "./services.js";
export type { Items } from "./transactions.js";
