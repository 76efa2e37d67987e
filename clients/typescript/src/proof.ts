// Owns what a caller proves its identity by: files with a certificate and its key, or with a token.
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { credentials, type ChannelCredentials } from "@grpc/grpc-js";

/** The files that a caller has; with a server's authority there is TLS, and without it plaintext. */
export interface Proof {
  /** PEM with the authorities of the server's certificate. */
  readonly authorityFile?: string;
  /** PEM with the caller's certificate and those between it and its authority. */
  readonly certificateFile?: string;
  /** PEM with the key of that certificate. */
  readonly keyFile?: string;
  /** The text of a token. It counts at the next call when it is replaced; certificates do within seconds. */
  readonly tokenFile?: string;
}

/** The files of a proof do not go together, or one of them can't be read. */
export class ProofUnusableError extends Error {
  override readonly name = "ProofUnusableError";
  /** Which file: its name in {@link Proof}. */
  readonly field: keyof Proof;

  constructor(field: keyof Proof, problem: string, cause?: unknown) {
    super(`${field}: ${problem}`, { cause });
    this.field = field;
  }
}

const CERTIFICATE_FILES = ["authorityFile", "certificateFile", "keyFile"] as const;

/** A proof whose files are read again as they change. */
export class ProofFiles {
  readonly #proof: Proof;
  readonly #token: { stamp: string; text: string } = { stamp: "", text: "" };

  /** @throws ProofUnusableError - the files do not go together; none was read yet. */
  constructor(proof: Proof) {
    checkTogether(proof);
    this.#proof = proof;
  }

  /** Return what changes with each replaced certificate, key or authority; cheaper than reading them. */
  stamp(): string {
    return CERTIFICATE_FILES.map((field) => stampOf(this.#proof[field])).join(" ");
  }

  /**
   * Return the credentials of a channel, from the files as they are now.
   *
   * @throws ProofUnusableError - a file can't be read, or certificate and key are no pair.
   */
  credentials(): ChannelCredentials {
    const [authority, certificate, key] = CERTIFICATE_FILES.map((field) => contentOf(field, this.#proof[field]));
    if (authority === undefined) return credentials.createInsecure();
    check("authorityFile", () => new X509Certificate(authority));
    if (certificate === undefined || key === undefined) return credentials.createSsl(authority);
    check("certificateFile", () => createSecureContext({ cert: certificate }));
    // A certificate and the key of another stand beside each other while both are being replaced.
    check("keyFile", () => createSecureContext({ cert: certificate, key }));
    return credentials.createSsl(authority, key, certificate);
  }

  /**
   * Return the token as it is now, if there is one.
   *
   * @throws ProofUnusableError - its file can't be read.
   */
  token(): string | undefined {
    const file = this.#proof.tokenFile;
    if (file === undefined) return undefined;
    const stamp = stampOf(file);
    if (stamp === "" || stamp !== this.#token.stamp) {
      this.#token.text = (contentOf("tokenFile", file) ?? Buffer.alloc(0)).toString("utf8").trim();
      this.#token.stamp = stamp;
    }
    return this.#token.text;
  }
}

function checkTogether({ authorityFile, certificateFile, keyFile, tokenFile }: Proof): void {
  if (authorityFile === undefined) {
    for (const [field, file] of Object.entries({ certificateFile, keyFile, tokenFile })) {
      if (file !== undefined) {
        throw new ProofUnusableError(
          field as keyof Proof,
          "does nothing without TLS, which needs the server's authority",
        );
      }
    }
  }
  if (certificateFile === undefined && keyFile !== undefined) {
    throw new ProofUnusableError("keyFile", "does nothing without its certificate");
  }
  if (keyFile === undefined && certificateFile !== undefined) {
    throw new ProofUnusableError("certificateFile", "does nothing without its key");
  }
  if (tokenFile !== undefined && certificateFile !== undefined) {
    throw new ProofUnusableError("tokenFile", "a server takes a certificate or a token, not both");
  }
}

function check(field: keyof Proof, use: () => unknown): void {
  try {
    use();
  } catch (error) {
    throw new ProofUnusableError(field, error instanceof Error ? error.message : String(error), error);
  }
}

function contentOf(field: keyof Proof, file: string | undefined): Buffer | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch (error) {
    throw new ProofUnusableError(field, error instanceof Error ? error.message : String(error), error);
  }
}

/** A file that is not there now, while it is being replaced, has the empty stamp. */
function stampOf(file: string | undefined): string {
  const found = file === undefined ? undefined : statSync(file, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? "" : `${found.ino}-${found.size}-${found.mtimeNs}-${found.ctimeNs}`;
}
