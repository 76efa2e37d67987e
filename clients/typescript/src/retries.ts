// Owns when a failed try is followed by another.
import { isLedgerError } from "./errors.js";
import { cancelledError, errorOf } from "./failures.js";
import { sleep, type Tries } from "./tries.js";

/** What is tried. */
interface Tried {
  readonly key?: string | undefined;
  readonly options: { readonly signal?: AbortSignal | undefined };
}

/**
 * What follows when a try of a call fails.
 *
 * It may have taken effect all the same. So the call must be one that has no other effect when it is made twice: a
 * read, or a change with the same key at each try.
 */
export class Retries {
  readonly tries: Tries;
  readonly #call: Tried;
  #unknownBefore = false;

  constructor(call: Tried, tries: Tries) {
    this.#call = call;
    this.tries = tries;
  }

  /**
   * Return when the next try may be made.
   *
   * @throws LedgerError - there is no other try: that is the error of the call.
   */
  async after(failure: unknown): Promise<void> {
    const { options } = this.#call;
    const error = this.errorOf(failure);
    if (!isLedgerError(error) || !error.retryable) throw error;
    const pause = this.tries.failed(error.retryDelayMs);
    if (pause === undefined) throw error;
    this.#unknownBefore = error.outcomeUnknown;
    await sleep(pause, options.signal);
    if (options.signal?.aborted) throw cancelledError(options.signal, this.#call);
  }

  /** Return the error of a call that is not made again. */
  errorOf(failure: unknown): unknown {
    const { key, options } = this.#call;
    if (options.signal?.aborted) return cancelledError(options.signal, this.#call);
    return errorOf(failure, { key, unknownBefore: this.#unknownBefore });
  }
}
