// Owns the back-off: how long to wait before the next try, and when there is none.

const FIRST_WINDOW_MS = 50;
const LONGEST_WINDOW_MS = 2_000;
const MOST_DOUBLINGS = 16;
// A timer that is set for longer goes off at once.
const LONGEST_TIMER_MS = 2 ** 31 - 1;
// Less time than this is not worth another try.
const LEAST_MS = 10;

/** What a pause depends on. */
export interface PauseFacts {
  /** How many tries in a row have failed, 1 or more. */
  readonly failures: number;
  /** What the server asks for at least. */
  readonly askedMs: number | undefined;
  /** Until the deadline; the pause ends before it. */
  readonly leftMs: number;
  /** From 0 to 1. */
  readonly random: number;
}

/**
 * Return how many milliseconds to wait before the next try, or undefined if there is no time for one.
 *
 * That is what the server asks for, and on top of it anything between nothing and a window that doubles with each
 * failure: nobody comes before the server wants it, nor all at once after.
 */
export function pauseMs({ failures, askedMs, leftMs, random }: PauseFacts): number | undefined {
  const asked = Math.max(askedMs ?? 0, 0);
  const room = leftMs - asked;
  if (room < LEAST_MS) return undefined;
  const window = Math.min(FIRST_WINDOW_MS * 2 ** Math.min(failures - 1, MOST_DOUBLINGS), LONGEST_WINDOW_MS);
  return asked + random * Math.min(window, room);
}

/** The tries of one thing until a deadline; whatever comes through may begin the time anew. */
export class Tries {
  readonly #timeoutMs: number;
  #deadline: number;
  #failures = 0;

  /** @param timeoutMs - for all tries with their pauses; Infinity: for ever. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#deadline = performance.now() + timeoutMs;
  }

  /** For how many milliseconds more there may be tries. */
  leftMs(): number {
    return Math.max(this.#deadline - performance.now(), 0);
  }

  /** Begin anew: something has come through. */
  renew(): void {
    this.#deadline = performance.now() + this.#timeoutMs;
    this.#failures = 0;
  }

  /** Count a failure; return how long to wait for the next try, or undefined if there is no other. */
  failed(askedMs: number | undefined): number | undefined {
    this.#failures += 1;
    return pauseMs({ failures: this.#failures, askedMs, leftMs: this.leftMs(), random: Math.random() });
  }
}

/** Wait; end early, and without an error, when the signal comes. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, Math.min(ms, LONGEST_TIMER_MS));
    signal?.addEventListener("abort", end);
  });
}
