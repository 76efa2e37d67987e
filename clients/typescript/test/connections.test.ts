// Owns the proof that servers are used in turn, that one that is away is passed over, and that replaced files count.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { AccountService, LedgerClient, ProofUnusableError, type GetBalanceRequest, type Proof } from "@defter/client";
import { ServerCredentials, type Metadata } from "@grpc/grpc-js";
import { Authority } from "./certificates.js";
import { serve, type Running } from "./server.js";

const PATIENT = { timeoutMs: 120_000 };

interface Counting extends Running {
  calls: number;
  token: unknown;
  /** The ends of its connections. */
  readonly peers: Set<string>;
  /** Wait until so many connections have made calls. */
  hasPeers(count: number): Promise<void>;
}

/** A server that counts its calls, and tells what it was sent. */
async function counting(t: TestContext, port = 0, credentials?: ServerCredentials): Promise<Counting> {
  const changed = new EventEmitter();
  const handlers = {
    GetBalance: (_: GetBalanceRequest, { metadata, peer }: { metadata: Metadata; peer: string }) => {
      found.calls += 1;
      found.peers.add(peer);
      changed.emit("peers");
      found.token = metadata.get("authorization")[0];
      return {};
    },
  };
  const running = await serve({ AccountService }, handlers, { port, ...(credentials && { credentials }) });
  const found: Counting = {
    ...running,
    calls: 0,
    token: undefined,
    peers: new Set(),
    hasPeers: async (count) => {
      while (found.peers.size < count) await once(changed, "peers");
    },
  };
  t.after(() => running.stop());
  return found;
}

function clientOf(t: TestContext, ...arguments_: ConstructorParameters<typeof LedgerClient>): LedgerClient {
  const ledger = new LedgerClient(...arguments_);
  t.after(() => ledger.close());
  return ledger;
}

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "defter-client-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Replace a file at once, as whoever rotates secrets does. */
function replace(file: string, content: string): void {
  writeFileSync(`${file}.new`, content);
  renameSync(`${file}.new`, file);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Call until something holds; the runner ends a test that hangs. */
async function callUntil(ledger: LedgerClient, holds: () => boolean): Promise<void> {
  while (!holds()) {
    await ledger.accounts.getBalance({}, PATIENT);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("several servers are used in turn", async (t) => {
  const servers = await Promise.all([counting(t), counting(t), counting(t)]);
  const ledger = clientOf(
    t,
    servers.map((each) => each.target),
  );
  await callUntil(ledger, () => servers.every((each) => each.calls > 3));
});

for (const away of [0, 1, 2]) {
  test(`the server at place ${away} is away and is passed over, and used when it is back`, async (t) => {
    const port = await freePort();
    const servers = await Promise.all([counting(t), counting(t)]);
    const targets = servers.map((each) => each.target);
    targets.splice(away, 0, `localhost:${port}`);
    const ledger = clientOf(t, targets);
    await callUntil(ledger, () => servers.every((each) => each.calls > 3));
    const back = await counting(t, port);
    await callUntil(ledger, () => back.calls > 0);
    servers[0]!.stop();
    const before = servers[1]!.calls;
    await callUntil(ledger, () => servers[1]!.calls > before + 3);
  });
}

test("a server that takes connections and says nothing is passed over", async (t) => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket.on("error", () => {})));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    silent.close();
    for (const socket of sockets) socket.destroy();
  });
  const server = await counting(t);
  const ledger = clientOf(t, [`127.0.0.1:${(silent.address() as AddressInfo).port}`, server.target]);
  await callUntil(ledger, () => server.calls > 3);
});

test("a certificate and its authority that are replaced count without a new client, and a torn pair does not", async (t) => {
  const folder = folderOf(t);
  const [own, next] = await Promise.all([Authority.make(), Authority.make()]);
  const proof = {
    authorityFile: join(folder, "ca"),
    certificateFile: join(folder, "certificate"),
    keyFile: join(folder, "key"),
  };
  const servers: Running[] = [];
  let ledger: LedgerClient | undefined;
  let port = 0;
  for (const authority of [own, next]) {
    const { certificate, key } = await authority.issue("localhost");
    const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) };
    const caller = await authority.issue("caller");
    replace(proof.authorityFile, authority.certificate);
    replace(proof.certificateFile, caller.certificate);
    if (servers.length === 0) replace(proof.keyFile, caller.key);
    servers.at(-1)?.stop();
    const server = await counting(
      t,
      port,
      ServerCredentials.createSsl(Buffer.from(authority.certificate), [pair], true),
    );
    port = server.port;
    ledger ??= clientOf(t, server.target, { proof });
    if (servers.length === 1) {
      // The certificate of now and the key of before are no pair: the client goes on with what it has.
      await assert.rejects(ledger.accounts.getBalance({}, { timeoutMs: 1_500 }));
      replace(proof.keyFile, caller.key);
    }
    servers.push(server);
    await callUntilAnswered(ledger);
    assert.ok(server.calls > 0);
  }
});

async function callUntilAnswered(ledger: LedgerClient): Promise<void> {
  for (let answered = false; !answered;) {
    answered = await ledger.accounts.getBalance({}, { timeoutMs: 2_000 }).then(
      () => true,
      () => false,
    );
  }
}

test("no call fails while certificates are replaced under load", async (t) => {
  const folder = folderOf(t);
  const authority = await Authority.make();
  const proof = {
    authorityFile: join(folder, "ca"),
    certificateFile: join(folder, "certificate"),
    keyFile: join(folder, "key"),
  };
  replace(proof.authorityFile, authority.certificate);
  const renew = async (): Promise<void> => {
    const { certificate, key } = await authority.issue("caller");
    replace(proof.certificateFile, certificate);
    replace(proof.keyFile, key);
  };
  await renew();
  const { certificate, key } = await authority.issue("localhost");
  const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) };
  const credentials = ServerCredentials.createSsl(Buffer.from(authority.certificate), [pair], true);
  const server = await counting(t, 0, credentials);
  const ledger = clientOf(t, server.target, { proof });
  const CONNECTIONS = 3;
  let failed: unknown;
  const worker = async (): Promise<void> => {
    while (failed === undefined && server.peers.size < CONNECTIONS) await ledger.accounts.getBalance({}, PATIENT);
  };
  const workers = Promise.all(Array.from({ length: 32 }, worker)).catch((error: unknown) => (failed = error));
  // Each connection is seen before the files are replaced again.
  for (let connections = 1; connections < CONNECTIONS; connections += 1) {
    await server.hasPeers(connections);
    await renew();
  }
  await workers;
  assert.equal(failed, undefined);
});

test("a token that is replaced counts at the next call", async (t) => {
  const folder = folderOf(t);
  const authority = await Authority.make();
  const { certificate, key } = await authority.issue("localhost");
  const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) };
  const server = await counting(t, 0, ServerCredentials.createSsl(null, [pair]));
  const proof = { authorityFile: join(folder, "ca"), tokenFile: join(folder, "token") };
  replace(proof.authorityFile, authority.certificate);
  replace(proof.tokenFile, "first\n");
  const ledger = clientOf(t, server.target, { proof });
  for (const token of ["first", "second", "third"]) {
    replace(proof.tokenFile, `${token}\n`);
    await ledger.accounts.getBalance({}, PATIENT);
    assert.equal(server.token, `Bearer ${token}`);
  }
});

for (const [field, proof] of [
  ["tokenFile", { tokenFile: "token" }],
  ["certificateFile", { certificateFile: "certificate", keyFile: "key" }],
  ["keyFile", { authorityFile: "ca", keyFile: "key" }],
  ["certificateFile", { authorityFile: "ca", certificateFile: "certificate" }],
  ["tokenFile", { authorityFile: "ca", certificateFile: "certificate", keyFile: "key", tokenFile: "token" }],
  ["authorityFile", { authorityFile: "missing" }],
  ["authorityFile", { authorityFile: "torn" }],
  ["certificateFile", { authorityFile: "ca", certificateFile: "torn", keyFile: "key" }],
  ["keyFile", { authorityFile: "ca", certificateFile: "certificate", keyFile: "other" }],
] as const satisfies readonly (readonly [keyof Proof, Proof])[]) {
  test(`a proof of ${JSON.stringify(proof)} names ${field}`, async (t) => {
    const folder = folderOf(t);
    const authority = await Authority.make();
    const [pair, other] = await Promise.all([authority.issue("caller"), authority.issue("other")]);
    const contents = {
      ca: authority.certificate,
      certificate: pair.certificate,
      key: pair.key,
      other: other.key,
      token: "t",
      torn: "-----BEGIN CERTIFICATE-----\nx",
    };
    for (const [name, content] of Object.entries(contents)) writeFileSync(join(folder, name), content);
    const files = Object.fromEntries(Object.entries(proof).map(([name, file]) => [name, join(folder, file)]));
    assert.throws(
      () => new LedgerClient("localhost:1", { proof: files }),
      (error) => error instanceof ProofUnusableError && error.field === field,
    );
  });
}

test("a client needs an address", () => {
  assert.throws(() => new LedgerClient([]), TypeError);
});
