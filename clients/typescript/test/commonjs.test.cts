// Owns the proof that the package is there for CommonJS too, and that errors are known across both of its forms.
import assert = require("node:assert/strict");
import nodeTest = require("node:test");
import client = require("@defter/client");

nodeTest.test("the package has the same exports in both forms", async () => {
  const module = await import("@defter/client");
  assert.deepEqual(
    Object.keys(client)
      .filter((name) => name !== "__esModule")
      .sort(),
    Object.keys(module).sort(),
  );
});

nodeTest.test("an error of one form is known by the other", async () => {
  const module = await import("@defter/client");
  const rejection = client.create(client.RejectionSchema, { reason: client.ErrorReason.INSUFFICIENT_FUNDS });
  const error: unknown = client.rejectionError(rejection);
  assert.ok(!(error instanceof module.LedgerError), "the forms are two copies");
  assert.ok(module.isLedgerError(error));
  assert.ok(module.hasReason(error, "INSUFFICIENT_FUNDS"));
});
