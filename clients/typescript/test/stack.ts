// Owns where the servers are that a test is given (clients/scenario/README.md), and the hand that breaks them.

const { DEFTER_TEST_TARGET, DEFTER_TEST_TENANT, DEFTER_TEST_CONTROL, DEFTER_TEST_FRAGILE_TARGET } = process.env;

/** The server of the scenario. */
export const target = DEFTER_TEST_TARGET ?? "";
/** The tenant that the scenario creates. */
export const tenant = DEFTER_TEST_TENANT ?? "demo";
/** The server that can be killed. */
export const fragileTarget = DEFTER_TEST_FRAGILE_TARGET ?? "";
/** Options of a test that needs servers. */
export const needsServers = { skip: target === "" ? "DEFTER_TEST_TARGET is not set: there is no server" : false };
export const needsKilling = {
  skip: fragileTarget === "" ? "DEFTER_TEST_FRAGILE_TARGET is not set: there is no server to kill" : false,
};

/** Break all connections, or kill the fragile server; return once it is done. */
export async function hand(does: "break" | "kill"): Promise<void> {
  const answer = await fetch(`${DEFTER_TEST_CONTROL}/${does}`, { method: "POST" });
  if (!answer.ok) throw new Error(`the hand did not ${does}: ${answer.status}`);
}
