// Owns when a failed try is followed by another.
import { isLedgerError } from "./errors.js";
import { cancelled, errorOf, type Circumstances } from "./failures.js";
import { sleep, type Tries } from "./tries.js";

/** What is tried. */
interface Tried {
  readonly key?: string | undefined;
  readonly changes?: boolean | undefined;
  /** Tells the keys of its items without a known result, as it fails. */
  readonly keys?: (() => readonly string[]) | undefined;
  /** Tells whether some of it may have taken effect, as it fails; without it that follows from the failures. */
  readonly outcomeUnknown?: (() => boolean) | undefined;
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
    if (options.signal?.aborted) throw this.errorOf(failure);
  }

  /** Return the error of a call that is not made again. */
  errorOf(failure: unknown): unknown {
    const { key, keys, changes, outcomeUnknown, options } = this.#call;
    const circumstances: Circumstances = {
      key,
      keys: keys?.(),
      changes,
      unknownBefore: this.#unknownBefore,
      outcomeUnknown: outcomeUnknown?.(),
    };
    return errorOf(options.signal?.aborted ? cancelled(options.signal) : failure, circumstances);
  }
}
