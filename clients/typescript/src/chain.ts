// Owns the order of the journal's records, and the proof that none was altered.
import { createHash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { JournalBrokenError } from "./errors.js";
import { JournalRecordSchema, type JournalEntry } from "./gen/defter/ledger/v1/journal_pb.js";

const CHECKPOINT = /^(\d{1,19}):([0-9a-f]{64})?$/;

/** A place in the journal: behind a record. */
export interface Place {
  readonly sequence: bigint;
  /** The record's chain hash, 32 bytes; undefined where it is not known. */
  readonly chainHash: Uint8Array | undefined;
}

/** Return the checkpoint of a record that was delivered, to be stored with what was made of it. */
export function checkpointOf({ sequence, chainHash }: Pick<JournalEntry, "sequence" | "chainHash">): string {
  return `${sequence}:${Buffer.from(chainHash).toString("hex")}`;
}

/**
 * Return the place of a checkpoint.
 *
 * @throws TypeError - it is none.
 */
export function placeOf(checkpoint: string): Place {
  const found = CHECKPOINT.exec(checkpoint);
  if (found === null) throw new TypeError(`${checkpoint} is no checkpoint, such as 28:3f…`);
  const sequence = BigInt(found[1]!);
  return found[2] === undefined ? behind(sequence) : { sequence, chainHash: Buffer.from(found[2], "hex") };
}

/** Return the place behind a sequence, before whose record 32 zero bytes stand if it is the first. */
export function behind(sequence: bigint): Place {
  return { sequence, chainHash: sequence === 0n ? Buffer.alloc(32) : undefined };
}

/**
 * Return the place behind the next record.
 *
 * @param verify - whether its chain hash is checked; behind a place without one it is taken as it is.
 * @throws JournalBrokenError - it does not follow, or its chain hash doesn't.
 */
export function follow(place: Place, entry: JournalEntry, verify: boolean): Place {
  const { sequence, chainHash, recordBytes } = entry;
  const expected = place.sequence + 1n;
  if (sequence !== expected)
    throw new JournalBrokenError(sequence, `record ${sequence} came where ${expected} follows`);
  if (verify && place.chainHash !== undefined) {
    const hash = createHash("sha256").update(place.chainHash).update(recordBytes).digest();
    if (!hash.equals(chainHash))
      throw new JournalBrokenError(sequence, `the chain hash of record ${sequence} is wrong`);
  }
  return { sequence, chainHash };
}

/** Return an entry with the record that its bytes hold: what was hashed, and not what was told beside it. */
export function decoded(entry: JournalEntry): JournalEntry {
  const record = fromBinary(JournalRecordSchema, entry.recordBytes);
  if (record.sequence !== entry.sequence) {
    throw new JournalBrokenError(entry.sequence, `the bytes of record ${entry.sequence} say ${record.sequence}`);
  }
  return Object.assign(entry, { record });
}
