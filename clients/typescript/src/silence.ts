// Owns when a call that says nothing is given up.

/** Gives a call up when it has been silent for too long while somebody waits for it, or when its caller does. */
export class Silence {
  readonly #controller = new AbortController();
  readonly #signal: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;
  #isDue = false;

  /**
   * @param due - whether it has been silent for too long.
   * @param everyMs - how often that is looked at.
   */
  constructor(signal: AbortSignal | undefined, everyMs: number, due: () => boolean) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#stop);
    this.#timer = setInterval(() => {
      if (!due()) return;
      this.#isDue = true;
      this.#stop();
    }, everyMs);
  }

  /** Comes when the call is to be given up. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether it was given up for its silence. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** Look no longer. */
  end(): void {
    clearInterval(this.#timer);
    this.#signal?.removeEventListener("abort", this.#stop);
  }

  readonly #stop = (): void => this.#controller.abort();
}
