// Owns the keys of calls whose callers give none.
import { randomBytes } from "node:crypto";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH = 26;

/**
 * Return a new idempotency key, a ULID: 48 bits of milliseconds and 80 random bits.
 *
 * It dies with the process. Whoever moves money for an event of their own gives a key that follows from the event.
 *
 * @param nowMs - milliseconds since 1970.
 * @param random - ten random bytes.
 */
export function newKey(nowMs: number = Date.now(), random: Uint8Array = randomBytes(10)): string {
  let bits = BigInt(nowMs);
  for (const byte of random) bits = (bits << 8n) | BigInt(byte);
  let key = "";
  for (let place = 0; place < LENGTH; place += 1) {
    key = ALPHABET.charAt(Number(bits & 31n)) + key;
    bits >>= 5n;
  }
  return key;
}
