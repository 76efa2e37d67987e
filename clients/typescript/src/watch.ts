// Owns watches: the journal without end, through breaks, without gap or repeat.
import type { DescMessage, DescMethod, MessageInitShape } from "@bufbuild/protobuf";
import { streamed } from "./calls.js";
import { behind, decoded, follow, placeOf, type Place } from "./chain.js";
import { isLedgerError } from "./errors.js";
import { Unspoken, cancelledError, errorOf, hasReason } from "./failures.js";
import {
  WatchJournalRequestSchema,
  WatchJournalResponseSchema,
  type JournalEntry,
  type WatchJournalRequest,
  type WatchJournalResponse,
} from "./gen/defter/ledger/v1/journal_pb.js";
import type { WatchOptions } from "./options.js";
import { ProofUnusableError } from "./proof.js";
import { Silence } from "./silence.js";
import { Tries, sleep } from "./tries.js";
import { pathOf, type Call, type Wire } from "./wire.js";

const USUAL_HEARTBEAT_SECONDS = 10;
const HEARTBEATS_OF_SILENCE = 2.5;

/** Watches the journal; see `watchJournal` of the client. */
export class Watch implements AsyncIterable<JournalEntry> {
  readonly #wire: Wire;
  readonly #call: Call<typeof WatchJournalResponseSchema>;
  readonly #request: WatchJournalRequest;
  readonly #options: WatchOptions;
  readonly #start: Place;
  /** Whether entries get the record of their bytes. */
  readonly #decodes: boolean;

  /** @throws TypeError - the start is told twice, or the checkpoint is none. */
  constructor(
    wire: Wire,
    method: DescMethod,
    request: MessageInitShape<typeof WatchJournalRequestSchema>,
    options: WatchOptions,
  ) {
    this.#wire = wire;
    this.#call = { path: pathOf(method), output: WatchJournalResponseSchema, options };
    this.#request = wire.complete(WatchJournalRequestSchema, request);
    this.#options = options;
    this.#start = startOf(this.#request, options);
    this.#decodes = options.verifyChain === true && !this.#request.bytesOnly;
    if (options.verifyChain === true) this.#request.bytesOnly = true;
  }

  /** Iterate over all records behind the start; iterated again, it begins there again. */
  async *[Symbol.asyncIterator](): AsyncGenerator<JournalEntry, void> {
    const tries = new Tries(Infinity);
    let place = this.#start;
    for (;;) {
      try {
        for await (const response of this.#responses(place.sequence)) {
          tries.renew();
          for (const entry of response.entries) {
            place = follow(place, entry, this.#options.verifyChain === true);
            yield this.#decodes ? decoded(entry) : entry;
          }
        }
        throw new Unspoken("UNAVAILABLE", "the server has ended the watch");
      } catch (failure) {
        await this.#afterBreak(failure, tries);
      }
    }
  }

  async *#responses(afterSequence: bigint): AsyncGenerator<WatchJournalResponse, void> {
    const { heartbeatSeconds } = this.#request;
    const mostMs = (heartbeatSeconds || USUAL_HEARTBEAT_SECONDS) * 1_000 * HEARTBEATS_OF_SILENCE;
    let waitsSince: number | undefined = performance.now();
    const silence = new Silence(
      this.#options.signal,
      mostMs / 10,
      () => waitsSince !== undefined && performance.now() - waitsSince > mostMs,
    );
    try {
      const bytes = this.#wire.encode(WatchJournalRequestSchema, { ...this.#request, afterSequence });
      const attempt = await this.#wire.attempt<DescMessage>(this.#call, Infinity);
      for await (const response of streamed({ ...attempt, signal: silence.signal }, bytes)) {
        // While the caller works on what has come, nobody waits for the server.
        waitsSince = undefined;
        yield response as WatchJournalResponse;
        waitsSince = performance.now();
      }
    } catch (failure) {
      throw silence.isDue ? new Unspoken("UNAVAILABLE", "the server has been silent for too long") : failure;
    } finally {
      silence.end();
    }
  }

  async #afterBreak(failure: unknown, tries: Tries): Promise<void> {
    const { signal, onBreak } = this.#options;
    const error = errorOf(failure);
    if (!signal?.aborted) {
      if (isAnswer(error)) throw error;
      const pause = tries.failed(isLedgerError(error) ? error.retryDelayMs : undefined) ?? 0;
      onBreak?.(error, pause);
      await sleep(pause, signal);
    }
    if (signal?.aborted) throw cancelledError(signal);
  }
}

function startOf(request: WatchJournalRequest, { checkpoint }: WatchOptions): Place {
  if (checkpoint === undefined) return behind(request.afterSequence);
  if (request.afterSequence !== 0n)
    throw new TypeError("a watch begins at afterSequence or at a checkpoint, not at both");
  return placeOf(checkpoint);
}

/** Whether an error would be the same at each try. */
function isAnswer(error: unknown): boolean {
  if (hasReason(error, "NOT_YET_RECORDED")) return true;
  if (isLedgerError(error)) return error.kind !== "retry" && error.kind !== "fault";
  // Files that are being replaced may not go together for a moment.
  return !(error instanceof ProofUnusableError);
}
