// Owns the connections: one channel for each address, used in turn, opened anew when certificates were replaced.
import { Client, connectivityState, type ChannelOptions } from "@grpc/grpc-js";
import { Unspoken } from "./failures.js";
import type { ProofFiles } from "./proof.js";

const OPTIONS: ChannelOptions = {
  // The ledger's answers fit into the 4 MiB that gRPC accepts by default; a larger one would be a fault.
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
  // A silently dead connection is given up after 25 s instead of never. The server allows a ping every 10 s.
  "grpc.keepalive_time_ms": 15_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // A server that is back is found within seconds; by default gRPC waits up to two minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  "grpc.dns_min_time_between_resolutions_ms": 5_000,
  // All addresses of a name are used, not the first that answers.
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  "grpc.service_config_disable_resolution": 1,
};
const LOOK_AT_FILES_MS = 1_000;
const WAIT_FOR_CHANGE_MS = 500;

/** The channels of a client. */
export class Channels {
  readonly #addresses: readonly string[];
  readonly #proof: ProofFiles;
  readonly #options: ChannelOptions;
  #open: Client[] = [];
  #stamp = "";
  #lookedAt = 0;
  #turn = 0;
  #isClosed = false;

  constructor(addresses: readonly string[], proof: ProofFiles, options: ChannelOptions) {
    if (addresses.length === 0) throw new TypeError("a client needs an address");
    this.#addresses = addresses;
    this.#proof = proof;
    this.#options = { ...OPTIONS, ...options };
    // Files that can't be used should be told to who starts, and not to the first call.
    proof.credentials();
  }

  /**
   * Return the channel for the next call: of those that are connected, each in its turn.
   *
   * @param leftMs - how long the call may wait for one.
   */
  async next(leftMs: number): Promise<Client> {
    const until = performance.now() + leftMs;
    for (;;) {
      const open = this.#renewed();
      if (open.length === 1) return open[0]!;
      const states = open.map((each) => each.getChannel().getConnectivityState(true));
      const connected = open.filter((_, place) => states[place] === connectivityState.READY);
      const waiting = states.every((state) => state === connectivityState.TRANSIENT_FAILURE);
      const left = until - performance.now();
      // Where none is there, the call fails with the reason, and is tried again with the next.
      if (connected.length > 0 || waiting || left <= 0) return this.#inTurn(connected.length > 0 ? connected : open);
      await changed(open, states, Math.min(left, WAIT_FOR_CHANGE_MS));
    }
  }

  /** Close all; calls that have begun go on to their end. */
  close(): void {
    this.#isClosed = true;
    for (const each of this.#open.splice(0)) each.close();
  }

  #inTurn(channels: readonly Client[]): Client {
    this.#turn = (this.#turn + 1) % Number.MAX_SAFE_INTEGER;
    return channels[this.#turn % channels.length]!;
  }

  #renewed(): readonly Client[] {
    if (this.#isClosed) throw new Unspoken("CANCELLED", "the client is closed");
    const now = performance.now();
    if (this.#open.length > 0 && now - this.#lookedAt < LOOK_AT_FILES_MS) return this.#open;
    this.#lookedAt = now;
    const stamp = this.#proof.stamp();
    if (this.#open.length > 0 && stamp === this.#stamp) return this.#open;
    try {
      const credentials = this.#proof.credentials();
      const before = this.#open;
      this.#open = this.#addresses.map((address) => new Client(address, credentials, this.#options));
      this.#stamp = stamp;
      // A call that was given one of them a moment ago has to begin first.
      setImmediate(() => before.forEach((each) => each.close()));
    } catch (error) {
      // While files are being replaced they may not go together; what is open goes on until they do.
      if (this.#open.length === 0) throw error;
    }
    return this.#open;
  }
}

function changed(open: readonly Client[], states: readonly connectivityState[], ms: number): Promise<void> {
  const until = Date.now() + ms;
  return new Promise((resolve) => {
    open.forEach((each, place) => each.getChannel().watchConnectivityState(states[place]!, until, () => resolve()));
  });
}
