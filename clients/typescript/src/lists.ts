// Owns lists: iterators over items, which fetch page by page.
import type { Message } from "@bufbuild/protobuf";

/** An item of a list's response: what its one list of messages holds. */
export type ItemOf<R> = { [K in keyof R]-?: R[K] extends (infer T extends Message)[] ? T : never }[keyof R];

/** A response that may have another behind it. */
export interface Page {
  readonly nextPageToken: string;
}

/** All items of a list. Iterated again, it is fetched again. */
export class List<R extends Page> implements AsyncIterable<ItemOf<R>> {
  readonly #first: string;
  readonly #fetch: (pageToken: string) => Promise<R>;
  readonly #itemsOf: (page: R) => readonly ItemOf<R>[];

  /**
   * @param first - the token of the first page, empty for that of the whole list.
   * @param fetch - fetches a page, with a deadline and tries of its own.
   * @param itemsOf - returns the items of a page.
   */
  constructor(first: string, fetch: (pageToken: string) => Promise<R>, itemsOf: (page: R) => readonly ItemOf<R>[]) {
    this.#first = first;
    this.#fetch = fetch;
    this.#itemsOf = itemsOf;
  }

  /** Iterate over whole responses. A page may be short, or have nothing at all, though others follow. */
  async *pages(): AsyncGenerator<R, void> {
    let token = this.#first;
    do {
      const page = await this.#fetch(token);
      yield page;
      token = page.nextPageToken;
    } while (token !== "");
  }

  /** Iterate over the items. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ItemOf<R>, void> {
    for await (const page of this.pages()) yield* this.#itemsOf(page);
  }
}
