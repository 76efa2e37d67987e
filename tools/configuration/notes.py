"""Own what an operator should know of each setting beside its type, default and description.

Every variable has a note here, and every note a variable: the generator refuses anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Secret = Literal["no", "yes", "its file"]


@dataclass(frozen=True, slots=True)
class Note:
    """What is written beside a setting."""

    change: str
    """When to change it, and what to know before."""
    confidential: Secret = "no"
    """Whether the value is a secret, or the file that it names has one."""


SERVER: Final = {
    "DEFTER_DATABASE_URL": Note(
        "Always set it: `postgresql://user:password@host:port/database`, PostgreSQL 15 or newer; several"
        " hosts, as `host1:port,host2:port`, for failover: `restore.md`. A password file keeps the password"
        " out of it: `secrets.md`.",
        "yes",
    ),
    "DEFTER_APPLICATION_ROLE": Note(
        "Another name is wanted; the same value for `defter migrate` and servers."
    ),
    "DEFTER_DATA_DIRECTORY": Note(
        "Only for `defter up`; without it `.defter/postgres`. Files there have its `port` and `password`:"
        " `psql -h 127.0.0.1 -p PORT -U postgres defter`."
    ),
    "DEFTER_WITNESS_FILE": Note(
        "Always set it in production, to a place that is not restored together with the database:"
        " `runbook.md`, Incidents."
    ),
    "DEFTER_HOST": Note("Others than this machine call; without TLS a loopback address alone is taken."),
    "DEFTER_PORT": Note("The port is taken."),
    "DEFTER_TLS_CERTIFICATE_FILE": Note("Others than this machine call: `runbook.md`, Who may call."),
    "DEFTER_TLS_KEY_FILE": Note("Together with the certificate.", "its file"),
    "DEFTER_CLIENT_AUTHORITY_FILE": Note("Services call with certificates, on `DEFTER_PORT`."),
    "DEFTER_TOKEN_KEYS_FILE": Note("Persons call with tokens. Public keys alone belong into it."),
    "DEFTER_TOKEN_ISSUER": Note("Together with the key set."),
    "DEFTER_TOKEN_AUDIENCE": Note("Together with the key set."),
    "DEFTER_TOKEN_PORT": Note("Callers with tokens come beside those with certificates."),
    "DEFTER_POLICY_FILE": Note(
        "Together with TLS; begin with `docs/operations/policy.example.toml`. It is read again as it changes."
    ),
    "DEFTER_AUDIT_LOG_FILE": Note("The audit log is to be kept apart. The file may be rotated at any time."),
    "DEFTER_IDENTITY_RELOAD_SECONDS": Note("Never, but to save a little CPU."),
    "DEFTER_PERSONAL_KEYS_FILE": Note(
        "Callers send `personal_metadata`: see `personal-data.md`. It is read at the start alone.",
        "its file",
    ),
    "DEFTER_METRICS_PORT": Note("Always set it in production. Worker n has the n-th port from here."),
    "DEFTER_METRICS_HOST": Note(
        "Prometheus runs on another machine. The endpoint is plaintext: open it to the network of"
        " Prometheus alone."
    ),
    "DEFTER_OTLP_ENDPOINT": Note("Traces are wanted; needs `defter[otel]`: `traces.md`."),
    "DEFTER_METRICS_SECONDS": Note(
        "The counts cost the database too much. Beyond some minutes the alert `DefterCountsOld` wants"
        " another threshold."
    ),
    "DEFTER_METRICS_TENANTS": Note(
        'Some tenants are to be seen by themselves, as `["casino"]`; all others together have an empty label.'
    ),
    "DEFTER_WORKERS": Note("One process uses up a CPU: `deployment.md`. Only `defter serve` has several."),
    "DEFTER_BATCH_SCHEDULING": Note(
        "The CPUs are the ledger's alone: Linux's `SCHED_BATCH` gives a tenth more calls there, and twice"
        " the latency where other work keeps them busy (decision 15)."
    ),
    "DEFTER_CALLS_AHEAD": Note(
        "A start says that calls can't be asked for ahead: 0, which is a quarter to a half slower and"
        " runs on any version of grpcio (decision 30)."
    ),
    "DEFTER_CONNECTION_AGE_SECONDS": Note(
        "Shorter where new processes should get their share of the calls sooner. Calls and streams under"
        " way are not ended: their connection goes when the last of them has."
    ),
    "DEFTER_WRITE_CONNECTIONS": Note(
        "`DefterConnectionsUsedUp` names the pool `write` and the database has room. Beside both pools,"
        " one connection reads the database's clock, one asks whether it is ready, two prove reads where a"
        " synchronous standby is named, and one for a moment asks after statements under way."
    ),
    "DEFTER_READ_CONNECTIONS": Note("`DefterConnectionsUsedUp` names the pool `read`, or lists wait."),
    "DEFTER_LANE_CAPACITY": Note(
        "Callers would rather wait longer than be refused with `LANE_FULL`. First find out why the lane"
        " is slow."
    ),
    "DEFTER_LANE_CAPACITY_BYTES": Note("The same for large requests; beyond it `LANE_FULL`."),
    "DEFTER_REQUEST_BYTES": Note(
        "`SERVER_FULL` comes while memory is left: `bounds.md`. Above 16 KiB a request finds room in"
        " three quarters of it only."
    ),
    "DEFTER_SHARE": Note(
        "One tenant slows down others: `runbook.md`, Quotas and shares. One caller has four times this."
    ),
    "DEFTER_HEAVY_READS": Note(
        "Lists or verifications wait for long; `DEFTER_READ_CONNECTIONS` four times as high at least. One"
        " tenant or caller has half of it."
    ),
    "DEFTER_QUOTA_CALLS_PER_SECOND": Note("A rate for all is wanted; beyond it `QUOTA_RATE_EXCEEDED`."),
    "DEFTER_QUOTA_CALLS": Note(
        "Rather a quota of its own in the policy file; beyond it `QUOTA_CALLS_UNDER_WAY`."
    ),
    "DEFTER_QUOTA_BYTES": Note(
        "Rather a quota of its own in the policy file; beyond it `QUOTA_BYTES_UNDER_WAY`."
    ),
    "DEFTER_WORKING_SET_BYTES": Note(
        "`defter_working_sets_forgotten_total` rises and memory is left. The number is about; idle lanes"
        " forget first."
    ),
    "DEFTER_FOLLOWER_BYTES": Note("Watchers are refused with `SERVER_FULL` while memory is left."),
    "DEFTER_FOLLOWER_SECONDS": Note("Watchers that are slow by nature see `READER_TOO_SLOW`."),
    "DEFTER_LANE_BATCH_SIZE": Note("Never, but after a measurement."),
    "DEFTER_STORE_PATIENCE_SECONDS": Note(
        "Callers without a deadline should hear of an outage earlier or later."
    ),
    "DEFTER_SLOW_STATEMENT_SECONDS": Note(
        "The log has too many or too few `a statement was slow`. The line has the text and the number of"
        " rows; the arguments are not told."
    ),
    "DEFTER_SLOW_BATCH_SECONDS": Note(
        "The log has too many or too few `a batch was slow`. The line has the time of the commit alone,"
        " the numbers of calls, requests, records and bytes, and the kinds of records."
    ),
    "DEFTER_CLOCK_BOUND_SECONDS": Note(
        "Never, but to be stricter. The database's clock is what is compared with."
    ),
    "DEFTER_DRAIN_SECONDS": Note(
        "Calls take longer. Whoever stops the process has to wait longer than this: `deployment.md`."
    ),
    "DEFTER_EXPIRY_SWEEP_SECONDS": Note(
        "Expired holds should be seen earlier; balances are right at any pause."
    ),
    "DEFTER_DISPATCH_SWEEP_SECONDS": Note("Never: calls are announced, and the sweep is for what was not."),
    "DEFTER_PROVIDER_CALL_SECONDS": Note(
        "A provider is slower by nature. An unknown call is looked up, never repeated."
    ),
    "DEFTER_PROVIDER_POLL_SECONDS": Note(
        "Payouts should end earlier without webhooks, and the provider's rate limit allows it. The pause"
        " doubles up to 6 h."
    ),
    "DEFTER_PARKED_SWEEP_SECONDS": Note("Never: a change of the payment looks at its events by itself."),
    "DEFTER_PARKED_GRACE_SECONDS": Note(
        "A provider's events come much later than others. Change the threshold of `DefterEventsParked`"
        " with it."
    ),
    "DEFTER_LISTING_PAUSE_SECONDS": Note("A provider's rate limit breaks off runs."),
    "DEFTER_PROVIDERS_FILE": Note(
        "Always set it where money comes and goes: `runbook.md`, Provider accounts. It names secrets and"
        " has none."
    ),
    "DEFTER_EXTRA_CURRENCIES": Note(
        "An asset is added, 0 to 9 decimal places. What a currency was first used with stays:"
        " `runbook.md`, Currencies."
    ),
    "DEFTER_MAX_AMOUNTS": Note(
        "Smaller is safer against slips. It bounds one posting, hold, deposit or withdrawal that is asked"
        " for; what providers report is booked whatever its size."
    ),
    "DEFTER_DEPOSIT_HOLD_SECONDS": Note(
        "Deposits are paid later than a week after their begin. What is paid after it is credited in full"
        " all the same."
    ),
    "DEFTER_LOG_JSON": Note("A machine reads the log: `true`."),
    "DEFTER_LOG_LEVEL": Note("`debug` while a fault is looked for."),
}

EDGE: Final = {
    "DEFTER_EDGE_ENDPOINTS_FILE": Note("Always set it: `webhooks.md`. It names secrets and has none."),
    "DEFTER_EDGE_LEDGER_TARGET": Note("The ledger runs on another machine."),
    "DEFTER_EDGE_LEDGER_AUTHORITY_FILE": Note("The ledger has TLS; without it the edge calls without TLS."),
    "DEFTER_EDGE_LEDGER_CERTIFICATE_FILE": Note(
        "The ledger wants certificates. A replaced file counts within seconds."
    ),
    "DEFTER_EDGE_LEDGER_KEY_FILE": Note("Together with that certificate.", "its file"),
    "DEFTER_EDGE_HOST": Note("The proxy that ends TLS runs on another machine."),
    "DEFTER_EDGE_PORT": Note(
        "The port is taken. `defter up` reads it too, for its own edge, and takes any without it."
    ),
    "DEFTER_EDGE_METRICS_PORT": Note("Always set it in production."),
    "DEFTER_EDGE_METRICS_HOST": Note(
        "Prometheus runs on another machine; it is plaintext and asks for no proof."
    ),
    "DEFTER_EDGE_OTLP_ENDPOINT": Note("Traces are wanted; needs `defter[otel]`: `traces.md`."),
    "DEFTER_EDGE_PROXIES": Note("A proxy is in front: without it all senders share the proxy's rate limit."),
    "DEFTER_EDGE_VERIFIED_RATE_LIMIT": Note("A provider is answered 429 and the ledger has room."),
    "DEFTER_EDGE_ADDRESS_RATE_LIMIT": Note("A provider sends from few addresses and is answered 429."),
    "DEFTER_EDGE_BODY_SECONDS": Note("Never, but for a slow network."),
    "DEFTER_EDGE_FORWARD_SECONDS": Note("Shorter than the provider's own patience; commits are slow."),
    "DEFTER_EDGE_RELOAD_SECONDS": Note("Never."),
    "DEFTER_EDGE_DRAIN_SECONDS": Note(
        "Whoever stops the process has to wait longer than this: `deployment.md`."
    ),
    "DEFTER_EDGE_LOG_JSON": Note("A machine reads the log: `true`."),
    "DEFTER_EDGE_LOG_LEVEL": Note("`debug` while a fault is looked for."),
}

CONSOLE: Final = {
    "DEFTER_CONSOLE_LEDGER_TARGET": Note("The ledger runs on another machine; it is its token port."),
    "DEFTER_CONSOLE_LEDGER_AUTHORITY_FILE": Note("The ledger has TLS: always, but for trying things out."),
    "DEFTER_CONSOLE_SIGNING_KEY_FILE": Note(
        "Together with that authority: `console.md`. Whoever has the key can be anybody to the ledger.",
        "its file",
    ),
    "DEFTER_CONSOLE_TOKEN_ISSUER": Note("The ledger's `DEFTER_TOKEN_ISSUER` is another one."),
    "DEFTER_CONSOLE_TOKEN_AUDIENCE": Note("The ledger's `DEFTER_TOKEN_AUDIENCE` is another one."),
    "DEFTER_CONSOLE_STATEMENT_KEY_FILE": Note(
        "Auditors want to prove that the console has had a journal checked (`defter head key` makes one).",
        "its file",
    ),
    "DEFTER_CONSOLE_USERS_FILE": Note(
        "Another place is wanted. It has hashes of passwords; changes count at once.", "its file"
    ),
    "DEFTER_CONSOLE_OIDC_ISSUER": Note(
        "People sign in by an identity provider: `console.md`. Local users are then those of a named file."
    ),
    "DEFTER_CONSOLE_OIDC_CLIENT_ID": Note("Together with the issuer: as the provider has it."),
    "DEFTER_CONSOLE_OIDC_CLIENT_SECRET_FILE": Note(
        "Together with the issuer, unless a key proves the client. It is read at each sign-in.",
        "its file",
    ),
    "DEFTER_CONSOLE_OIDC_CLIENT_KEY_FILE": Note(
        "In place of the secret, which the provider could lose. `defter token key` makes one.",
        "its file",
    ),
    "DEFTER_CONSOLE_OIDC_AUTHORITY_FILE": Note("The provider's certificate is of an authority of the house."),
    "DEFTER_CONSOLE_OIDC_SCOPES": Note("Groups or the name come with another scope."),
    "DEFTER_CONSOLE_OIDC_SUBJECT_CLAIM": Note(
        "`sub` says nothing to people. It must be a claim that the provider gives to nobody else, ever."
    ),
    "DEFTER_CONSOLE_OIDC_BARE_SUBJECT": Note(
        "The ledger takes the provider's own tokens too (`true`): one person must have one name."
    ),
    "DEFTER_CONSOLE_OIDC_GROUPS_CLAIM": Note("The provider tells groups, or roles, by another name."),
    "DEFTER_CONSOLE_OIDC_NAME_CLAIM": Note("Another name is to be shown; it decides nothing."),
    "DEFTER_CONSOLE_HOST": Note("Others than this machine come without a proxy; that takes TLS."),
    "DEFTER_CONSOLE_PORT": Note(
        "The port is taken. `defter up` reads it too, for its own console, and takes any without it."
    ),
    "DEFTER_CONSOLE_METRICS_PORT": Note(
        "Prometheus reads its metrics: requests, failures, sessions, live pages."
    ),
    "DEFTER_CONSOLE_METRICS_HOST": Note(
        "Prometheus comes from another machine; keep others away from the port."
    ),
    "DEFTER_CONSOLE_OTLP_ENDPOINT": Note("Traces of requests and their calls are wanted (`defter[otel]`)."),
    "DEFTER_CONSOLE_ORIGIN": Note(
        "A proxy is in front, or people use a name: what stands in their browsers."
    ),
    "DEFTER_CONSOLE_TLS_CERTIFICATE_FILE": Note("No proxy in front ends TLS."),
    "DEFTER_CONSOLE_TLS_KEY_FILE": Note("Together with the certificate.", "its file"),
    "DEFTER_CONSOLE_TIME_ZONE": Note("People read times of another zone; each page names it."),
    "DEFTER_CONSOLE_BULK_MOST_MINOR": Note(
        'Many small withdrawals wait, such as `{"EUR": 5000}`: `console.md`. '
        "Whoever approves them sees each in one line."
    ),
    "DEFTER_CONSOLE_IDLE_SECONDS": Note("Shorter where screens are left alone."),
    "DEFTER_CONSOLE_SESSION_SECONDS": Note(
        "A shift is longer. With an identity provider groups count for so long: shorter where they change."
    ),
    "DEFTER_CONSOLE_MOST_SESSIONS": Note("More people work with it: a session has about 10 KiB."),
    "DEFTER_CONSOLE_MOST_STREAMS": Note("Pages say that they are not live, and the process has room."),
    "DEFTER_CONSOLE_DRAIN_SECONDS": Note("Whoever stops the process has to wait longer than this."),
    "DEFTER_CONSOLE_LOG_JSON": Note("A machine reads the log: `true`."),
    "DEFTER_CONSOLE_LOG_LEVEL": Note("`debug` while a fault is looked for."),
}

COMMANDS: Final = {
    "DEFTER_SERVER": Note("The server is on another machine; with a token it is the server's token port."),
    "DEFTER_TENANT": Note("All commands of a shell are for one tenant."),
    "DEFTER_SERVER_AUTHORITY_FILE": Note("The server has TLS; without it commands call without TLS."),
    "DEFTER_CALLER_CERTIFICATE_FILE": Note("The server wants certificates."),
    "DEFTER_CALLER_KEY_FILE": Note("Together with that certificate.", "its file"),
    "DEFTER_CALLER_TOKEN_FILE": Note("A person calls.", "its file"),
    "DEFTER_LEGACY_SQL_URL": Note("Snapshots come from the legacy database: `compare.md`.", "yes"),
}
