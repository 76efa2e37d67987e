"""Own the error table: every reason crosses a real wire with its code, its name and its facts."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC

import grpc
import pytest
from defter.ledger.v1 import account_pb2, error_pb2, journal_pb2, posting_pb2
from defter.payments.v1 import payment_pb2, provider_event_pb2
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2

from tests.support.adjusters import REQUESTED, Adjusters
from tests.support.cashier import Cashier
from tests.support.clock import START, FakeClock
from tests.support.fake_provider import LARGEST_AMOUNT, PROVIDER, SILENT_PROVIDER
from tests.support.findings import Desk
from tests.support.ledger import Ledger
from tests.support.requests import (
    ASSET,
    CREDIT,
    DEBIT,
    LARGEST,
    leg,
    length,
    limits,
    timestamp,
    transaction,
    transfer,
)
from tests.support.settlement import Settler, charge, paid, stripe_file
from tests.support.wire import MIB, raw_unary, refusal

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
ABORTED = grpc.StatusCode.ABORTED

# These need more than one request to provoke; each has a test of its own.
TESTED_ELSEWHERE = {
    "PERSONAL_KEYS_MISSING": "tests.wire.test_personal_data::test_without_keys_personal_data_are_refused",
    "PLAYER_FORGOTTEN": "tests.wire.test_personal_data::test_forget_player_leaves_money_and_proof",
    "SNAPSHOT_NOT_ORDERED": "tests.wire.test_compare_balances::test_compare_out_of_shape_is_refused",
    "SNAPSHOT_INCOMPLETE": "tests.wire.test_compare_balances::test_snapshot_that_breaks_off_resolves_nothing",
    "IDENTITY_MISSING": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_EXPIRED": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_NOT_YET_VALID": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_AUDIENCE_OTHER": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_ISSUER_OTHER": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_KEY_UNKNOWN": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_SIGNATURE_INVALID": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_MALFORMED": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_ALGORITHM_REFUSED": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "IDENTITY_GIVEN_TWICE": "tests.wire.test_every_permission"
    "::test_without_proof_every_rpc_is_refused_with_its_reason",
    "TOKEN_OVER_PLAINTEXT": "tests.wire.test_every_permission"
    "::test_token_over_plaintext_is_refused_by_every_rpc",
    "CERTIFICATE_IDENTITY_UNCLEAR": "tests.wire.test_every_permission"
    "::test_certificate_without_clear_identity_is_refused",
    "PERMISSION_MISSING": "tests.wire.test_every_permission"
    "::test_without_permission_every_rpc_is_refused_by_name",
    "PERSON_OTHER": "tests.wire.test_persons::test_token_speaks_for_its_subject_alone",
    "PERSON_MALFORMED": "tests.wire.test_persons::test_service_names_a_person_by_one_spelling",
    "PERSON_NOT_PERMITTED": "tests.wire.test_persons::test_service_without_permission_acts_for_nobody",
    "CERTIFICATE_NOT_TRUSTED": "tests.wire.test_replaced_identity"
    "::test_certificate_of_an_authority_that_was_replaced_is_refused",
    "CERTIFICATE_EXPIRED": "tests.wire.test_replaced_identity"
    "::test_certificate_that_expires_meanwhile_is_refused",
    "CERTIFICATE_NOT_YET_VALID": "tests.wire.test_replaced_identity"
    "::test_certificate_that_is_not_valid_yet_is_refused",
    "EPOCH_NOT_CURRENT": "tests.integration.test_restores"
    "::test_lose_commits_begins_another_epoch_and_stops_calls",
    "OUTBOUND_NOT_RECONCILED": "tests.integration.cli.test_outbound"
    "::test_resume_after_restore_wants_every_account_reconciled",
    "OUTBOUND_FINDINGS_OPEN": "tests.integration.cli.test_outbound"
    "::test_resume_after_restore_wants_every_account_reconciled",
    "LANE_FULL": "tests.wire.test_overload::test_post_into_full_lane_is_refused_with_retry_delay",
    "QUOTA_RATE_EXCEEDED": "tests.wire.test_quotas::test_key_that_a_quota_refused_is_unused",
    "QUOTA_CALLS_UNDER_WAY": "tests.wire.test_quotas::test_every_rpc_has_the_quota_of_calls_under_way",
    "QUOTA_BYTES_UNDER_WAY": "tests.wire.test_quotas"
    "::test_quota_of_bytes_refuses_what_is_too_much_beside_another",
    "QUOTA_READS_WAITING": "tests.integration.test_fairness"
    "::test_too_many_waiting_verifications_are_refused_by_name",
    "SERVER_FULL": "tests.wire.test_byte_bounds"
    "::test_large_request_beside_another_is_refused_with_retry_delay",
    "READER_TOO_SLOW": "tests.wire.test_byte_bounds"
    "::test_watch_that_is_not_read_is_dropped_and_resumes_without_gap",
    "DEADLINE_PASSED": "tests.wire.test_overload::test_post_whose_deadline_passed_is_not_begun",
    "SHUTTING_DOWN": "tests.wire.test_overload::test_post_while_draining_is_refused",
    "STORE_UNAVAILABLE": "tests.wire.test_overload::test_post_without_database_is_refused",
    "CLOCK_ASTRAY": "tests.integration.test_one_clock"
    "::test_ask_server_whose_clock_is_far_off_is_refused_and_changes_nothing",
    "RECONCILIATION_UNDER_WAY": "tests.integration.reconciliation.test_following"
    "::test_another_key_meanwhile_is_told_which_run_is_under_way",
    "AMOUNT_TOO_LARGE": "tests.wire.test_amount_bounds"
    "::test_amount_above_its_bound_is_refused_at_every_border",
    "ACCOUNTS_BELOW_LIMIT": "tests.wire.test_enforcement"
    "::test_enforce_while_accounts_stand_below_is_refused_with_count_and_examples",
    "BLOCKING_FINDINGS_OPEN": "tests.wire.test_enforcement"
    "::test_enforce_while_findings_block_is_refused_until_they_are_resolved",
    "HOLD_TOO_LARGE": "tests.wire.test_amount_bounds::test_increase_hold_above_the_bound_is_refused",
    "BEGUN_DEPOSITS_TOO_LARGE": "tests.wire.test_amount_bounds"
    "::test_begin_deposits_up_to_the_bound_of_one_player_leaves_room_for_others",
    "ACCOUNT_KIND_MISMATCH": "tests.integration.payments.test_older_accounts"
    "::test_ask_with_wallet_of_another_kind_is_refused",
    "CURRENCY_CONTRADICTED": "tests.integration.test_kept_currencies"
    "::test_use_currency_that_another_server_keeps_otherwise_is_refused",
    "OPENING_BALANCE_NEGATIVE": "tests.wire.test_openings::test_one_line_that_is_wrong_stops_all",
    "OPENING_BALANCE_REPEATED": "tests.wire.test_openings::test_one_line_that_is_wrong_stops_all",
    "OPENING_BALANCE_CHANGED": "tests.wire.test_openings"
    "::test_line_that_has_changed_is_posted_by_force_alone",
    "OPENING_BALANCE_OF_OTHER_IMPORT": "tests.wire.test_openings"
    "::test_player_of_another_import_is_refused_until_that_is_reversed",
    "IMPORT_LINES_REFUSED": "tests.wire.test_openings::test_one_line_that_is_wrong_stops_all",
    "CONTROL_SUM_MISMATCH": "tests.wire.test_openings::test_control_sum_that_does_not_agree_stops_all",
    "IMPORT_CHANGED": "tests.wire.test_openings::test_second_pass_that_differs_ends_the_call",
    "INTERNAL": "tests.integration.test_guilty_command"
    "::test_refuse_rows_of_one_command_fails_that_command_alone",
}

Provoked = tuple[Awaitable[object], dict[str, str]]
Provoke = Callable[[Ledger, FakeClock], Awaitable[Provoked]]


@dataclass(frozen=True)
class Case:
    """A reason, the code that it maps to, a way to provoke it, and how often that is recorded."""

    reason: str
    code: grpc.StatusCode
    provoke: Provoke
    record_count: int


CASES: list[Case] = []


def provokes(reason: str, code: grpc.StatusCode) -> Callable[[Provoke], Provoke]:
    """File a function that prepares a ledger and returns the refused call with its facts."""
    decided = error_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}") >= 200

    def file(provoke: Provoke) -> Provoke:
        CASES.append(Case(reason, code, provoke, int(decided)))
        return provoke

    return file


@provokes("MESSAGE_TOO_LARGE", INVALID_ARGUMENT)
async def send_five_mebibytes(ledger: Ledger, clock: FakeClock) -> Provoked:
    """4 MiB are the limit."""
    request = ledger.post_request(transfer("house", "ann", 1))
    request.transaction.reference = "x" * (5 * MIB)
    facts = {"size_bytes": str(request.ByteSize()), "limit_bytes": str(4 * MIB)}
    return ledger.stubs.postings.PostTransaction(request), facts


@provokes("MALFORMED_MESSAGE", INVALID_ARGUMENT)
async def send_garbage(ledger: Ledger, clock: FakeClock) -> Provoked:
    """The bytes are no protobuf message."""
    call = raw_unary(ledger.channel, "PostingService/PostTransaction")
    return call(b"\xff\xff\xff\xff"), {}


@provokes("IDEMPOTENCY_KEY_MISSING", INVALID_ARGUMENT)
async def post_without_key(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Every mutating call needs a key."""
    request = posting_pb2.PostTransactionRequest(
        tenant_id=ledger.tenant_id, transaction=transfer("house", "ann", 1)
    )
    return ledger.stubs.postings.PostTransaction(request), {"field": "idempotency_key"}


@provokes("IDEMPOTENCY_KEY_MALFORMED", INVALID_ARGUMENT)
async def post_with_line_break_in_key(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Keys are printable ASCII."""
    return ledger.post("house", "ann", 1, key="a\nb"), {"field": "idempotency_key"}


@provokes("FIELD_MISSING", INVALID_ARGUMENT)
async def open_account_without_kind(ledger: Ledger, clock: FakeClock) -> Provoked:
    """An enum that is required may not be unspecified."""
    unspecified = account_pb2.ACCOUNT_KIND_UNSPECIFIED
    return ledger.open("ann", kind=unspecified), {"field": "account.kind"}


@provokes("FIELD_TOO_LONG", INVALID_ARGUMENT)
async def post_with_long_reference(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A reference has up to 255 characters."""
    wanted = transaction(leg("house", DEBIT, 1), leg("ann", CREDIT, 1), reference="x" * 256)
    return ledger.submit(wanted), {"field": "transaction.reference", "limit": "255"}


@provokes("FIELD_MALFORMED", INVALID_ARGUMENT)
async def open_account_with_blank_in_id(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Account ids have an alphabet of their own."""
    return ledger.open("player 42"), {"field": "account.account_id"}


@provokes("FIELD_OUT_OF_RANGE", INVALID_ARGUMENT)
async def list_with_huge_page(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A page has at most 1,000 entries."""
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, page_size=1001)
    return ledger.stubs.accounts.ListAccounts(request), {"field": "page_size"}


@provokes("BATCH_SIZE_OUT_OF_RANGE", INVALID_ARGUMENT)
async def post_empty_batch(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A batch has at least one item."""
    return ledger.batch(), {"field": "items", "count": "0", "limit": "1000"}


@provokes("PAGE_TOKEN_INVALID", INVALID_ARGUMENT)
async def list_with_invented_token(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Tokens are the server's own."""
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, page_token="next")
    return ledger.stubs.accounts.ListAccounts(request), {"field": "page_token"}


@provokes("CURRENCY_UNKNOWN", INVALID_ARGUMENT)
async def open_account_in_unknown_currency(ledger: Ledger, clock: FakeClock) -> Provoked:
    """The registry knows all currencies there are."""
    facts = {"field": "account.currency_code", "currency_code": "ABC"}
    return ledger.open("ann", currency_code="ABC"), facts


@provokes("AMOUNT_NOT_POSITIVE", INVALID_ARGUMENT)
async def post_nothing(ledger: Ledger, clock: FakeClock) -> Provoked:
    """An amount is at least 1."""
    facts = {"field": "transaction.postings[0].amount_minor", "amount_minor": "0"}
    return ledger.post("house", "ann", 0), facts


@provokes("POSTING_COUNT_OUT_OF_RANGE", INVALID_ARGUMENT)
async def post_one_leg(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A transaction has two legs at least."""
    wanted = transaction(leg("house", DEBIT, 1))
    return ledger.submit(wanted), {"field": "transaction.postings", "count": "1"}


@provokes("UNBALANCED_TRANSACTION", INVALID_ARGUMENT)
async def post_unbalanced(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Debits equal credits."""
    wanted = transaction(leg("house", DEBIT, 10), leg("ann", CREDIT, 9))
    facts = {
        "field": "transaction.postings",
        "currency_code": "EUR",
        "debits_minor": "10",
        "credits_minor": "9",
    }
    return ledger.submit(wanted), facts


@provokes("SAME_ACCOUNT", INVALID_ARGUMENT)
async def hold_from_account_for_itself(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A hold is between two accounts."""
    return ledger.place_hold("house", "house", 1), {"account_id": "house"}


@provokes("ACCOUNT_NAME_RESERVED", INVALID_ARGUMENT)
async def open_wallet_of_another_kind(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A wallet is a liability, whoever opens it."""
    facts = {
        "field": "account.account_id",
        "account_id": "player:ann:real:EUR",
        "kind": "ASSET",
        "currency_code": "EUR",
        "reserved_for_kind": "LIABILITY",
        "reserved_for_currency_code": "EUR",
    }
    return ledger.open("player:ann:real:EUR", kind=ASSET), facts


@provokes("LIMITS_CONTRADICT_DEFAULT", FAILED_PRECONDITION)
async def set_upper_limit_below_the_default(ledger: Ledger, clock: FakeClock) -> Provoked:
    """An upper limit says nothing of the lower one, which is 0 for a player."""
    await ledger.open("ann")
    facts = {"account_id": "ann", "min_available_minor": "0", "max_balance_minor": "-1"}
    return ledger.set_limits("ann", account_pb2.AccountLimits(max_balance_minor=-1)), facts


@provokes("LIMITS_CONTRADICT", INVALID_ARGUMENT)
async def open_account_with_crossed_limits(ledger: Ledger, clock: FakeClock) -> Provoked:
    """The lower limit lies below the upper one."""
    facts = {"min_available_minor": "2", "max_balance_minor": "1"}
    return ledger.open("ann", bounds=limits(minimum=2, maximum=1)), facts


@provokes("IDEMPOTENCY_KEY_REUSED", ALREADY_EXISTS)
async def post_other_amount_with_same_key(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A key stands for one request."""
    await ledger.open("ann")
    await ledger.post("house", "ann", 1, key="once")
    facts = {"idempotency_key": "once", "method": "PostTransaction"}
    return ledger.post("house", "ann", 2, key="once"), facts


@provokes("TENANT_NOT_FOUND", NOT_FOUND)
async def post_to_unknown_tenant(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Tenants are created first."""
    stranger = Ledger(ledger.channel, "nobody")
    return stranger.post("house", "ann", 1), {"tenant_id": "nobody"}


@provokes("OUTCOME_NOT_FOUND", NOT_FOUND)
async def ask_for_unknown_outcome(ledger: Ledger, clock: FakeClock) -> Provoked:
    """The key was never used."""
    facts = {"method": "PostTransaction", "idempotency_key": "never"}
    return ledger.outcome("PostTransaction", "never"), facts


@provokes("NOT_YET_RECORDED", OUT_OF_RANGE)
async def ask_for_future_balance(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A balance at a sequence that is yet to come."""
    return ledger.balance("house", sequence=99), {"head_sequence": "2"}


@provokes("TENANT_ALREADY_EXISTS", ALREADY_EXISTS)
async def create_tenant_twice(ledger: Ledger, clock: FakeClock) -> Provoked:
    """With another key it is another request."""
    return ledger.create(key="again"), {"tenant_id": ledger.tenant_id}


@provokes("ACCOUNT_ALREADY_EXISTS", ALREADY_EXISTS)
async def open_account_twice(ledger: Ledger, clock: FakeClock) -> Provoked:
    """With another key it is another request."""
    return ledger.open("house", kind=ASSET), {"account_id": "house"}


@provokes("ACCOUNT_NOT_FOUND", NOT_FOUND)
async def post_to_unknown_account(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Accounts are opened first."""
    return ledger.post("house", "nobody", 1), {"account_id": "nobody"}


@provokes("TRANSACTION_NOT_FOUND", NOT_FOUND)
async def reverse_unknown_transaction(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    return ledger.reverse("tx_nothing"), {"transaction_id": "tx_nothing"}


@provokes("HOLD_NOT_FOUND", NOT_FOUND)
async def capture_unknown_hold(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    return ledger.capture("hold_nothing"), {"hold_id": "hold_nothing"}


@provokes("HOLD_ALREADY_CAPTURED", FAILED_PRECONDITION)
async def capture_twice(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A full capture ends the hold."""
    await ledger.open("ann")
    hold = await ledger.place_hold("house", "ann", 5)
    await ledger.capture(hold.hold_id)
    return ledger.capture(hold.hold_id), {"hold_id": hold.hold_id}


@provokes("HOLD_ALREADY_RELEASED", FAILED_PRECONDITION)
async def release_twice(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A release ends the hold."""
    await ledger.open("ann")
    hold = await ledger.place_hold("house", "ann", 5)
    await ledger.release(hold.hold_id)
    return ledger.release(hold.hold_id), {"hold_id": hold.hold_id}


@provokes("HOLD_EXPIRED", FAILED_PRECONDITION)
async def capture_too_late(ledger: Ledger, clock: FakeClock) -> Provoked:
    """At its expire time a hold is dead."""
    await ledger.open("ann")
    clock.advance(seconds=1)
    expire_time = timestamp(clock.now)
    clock.now = START
    hold = await ledger.place_hold("house", "ann", 5, expire_time=expire_time)
    clock.advance(seconds=1)
    facts = {"hold_id": hold.hold_id, "expire_time": "2030-01-01T12:00:01+00:00"}
    return ledger.capture(hold.hold_id), facts


@provokes("CAPTURE_EXCEEDS_HOLD", FAILED_PRECONDITION)
async def capture_more_than_held(ledger: Ledger, clock: FakeClock) -> Provoked:
    """What was captured before counts."""
    await ledger.open("ann")
    hold = await ledger.place_hold("house", "ann", 5)
    await ledger.capture(hold.hold_id, 2)
    facts = {"hold_id": hold.hold_id, "amount_minor": "4", "remaining_minor": "3"}
    return ledger.capture(hold.hold_id, 4), facts


@provokes("EXPIRE_TIME_NOT_LATER", FAILED_PRECONDITION)
async def place_hold_that_is_dead_already(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A hold must have a future."""
    await ledger.open("ann")
    dead = ledger.place_hold("house", "ann", 5, expire_time=timestamp(clock.now))
    return dead, {"expire_time": "2030-01-01T12:00:00+00:00"}


@provokes("EXPIRE_TIME_GIVEN_TWICE", INVALID_ARGUMENT)
async def place_hold_that_ends_in_two_ways(ledger: Ledger, clock: FakeClock) -> Provoked:
    """An instant, or a length."""
    later = timestamp(FakeClock(clock.now).advance(seconds=60))
    twice = ledger.place_hold("house", "ann", 5, expire_time=later, time_to_live=length(60_000_000))
    return twice, {"field": "time_to_live"}


@provokes("TIME_TO_LIVE_NOT_POSITIVE", INVALID_ARGUMENT)
async def place_hold_that_lives_for_no_time(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A microsecond is the least."""
    dead = ledger.place_hold("house", "ann", 5, time_to_live=length(-1_500_000))
    return dead, {"field": "time_to_live", "time_to_live": "-1.5"}


@provokes("TIME_TO_LIVE_TOO_LONG", INVALID_ARGUMENT)
async def place_hold_that_lives_for_ages(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A hundred years are the most."""
    seconds = 36_500 * 86_400
    ages = ledger.place_hold("house", "ann", 5, time_to_live=length(seconds * 1_000_000 + 1))
    facts = {"time_to_live": f"{seconds}.000001", "max_time_to_live": str(seconds)}
    return ages, {"field": "time_to_live", **facts}


@provokes("ALREADY_REVERSED", FAILED_PRECONDITION)
async def reverse_twice(ledger: Ledger, clock: FakeClock) -> Provoked:
    """One reversal each."""
    await ledger.open("ann")
    posted = await ledger.post("house", "ann", 5)
    reversal = await ledger.reverse(posted.transaction_id)
    facts = {
        "transaction_id": posted.transaction_id,
        "reversed_by_transaction_id": reversal.transaction_id,
    }
    return ledger.reverse(posted.transaction_id), facts


@provokes("REVERSAL_NOT_REVERSIBLE", FAILED_PRECONDITION)
async def reverse_reversal(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A mirror has no mirror."""
    await ledger.open("ann")
    posted = await ledger.post("house", "ann", 5)
    reversal = await ledger.reverse(posted.transaction_id)
    facts = {"transaction_id": reversal.transaction_id}
    return ledger.reverse(reversal.transaction_id), facts


@provokes("ILLEGAL_TRANSITION", FAILED_PRECONDITION)
async def unfreeze_open_account(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Only a frozen account thaws."""
    return ledger.unfreeze("house"), {"subject": "house", "from": "OPEN", "to": "OPEN"}


@provokes("CURRENCY_MISMATCH", FAILED_PRECONDITION)
async def post_dollars_to_euros(ledger: Ledger, clock: FakeClock) -> Provoked:
    """An account has one currency."""
    await ledger.open("ann")
    facts = {"account_id": "house", "currency_code": "USD", "account_currency_code": "EUR"}
    return ledger.submit(transfer("house", "ann", 1, "USD")), facts


@provokes("ACCOUNT_CLOSED", FAILED_PRECONDITION)
async def post_to_closed_account(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Closed is for ever."""
    await ledger.open("ann")
    await ledger.close("ann")
    return ledger.post("house", "ann", 1), {"account_id": "ann"}


@provokes("CONTINUATION_NOT_REVERSIBLE", FAILED_PRECONDITION)
async def reverse_what_followed_to_a_successor(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nobody posted it, and nobody takes it back."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    await ledger.continue_account("ann")
    moved = (await ledger.records("transaction_posted"))[-1].transaction_posted.transaction_id
    return ledger.reverse(moved), {"transaction_id": moved}


@provokes("ACCOUNT_FROZEN", FAILED_PRECONDITION)
async def post_from_frozen_account(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing lowers a frozen account."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    await ledger.freeze("ann")
    return ledger.post("ann", "house", 1), {"account_id": "ann"}


@provokes("ACCOUNT_NOT_EMPTY", FAILED_PRECONDITION)
async def close_account_with_money(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Money goes first."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    return ledger.close("ann"), {"account_id": "ann", "posted_balance_minor": "10"}


@provokes("AMOUNT_OVERFLOW", OUT_OF_RANGE)
async def post_beyond_int64(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A counter ends at 2^63-1."""
    await ledger.open("ann")
    await ledger.fund("ann", LARGEST)
    return ledger.post("house", "ann", 1), {"account_id": "house"}


@provokes("INSUFFICIENT_FUNDS", FAILED_PRECONDITION)
async def spend_what_is_held(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Held money is not available."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    await ledger.place_hold("ann", "house", 4)
    facts = {
        "account_id": "ann",
        "available_balance_minor": "6",
        "min_available_minor": "0",
        "change_minor": "-7",
    }
    return ledger.post("ann", "house", 7), facts


@provokes("BALANCE_LIMIT_EXCEEDED", FAILED_PRECONDITION)
async def fund_above_limit(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Money that is on its way in counts."""
    await ledger.open("ann", bounds=limits(minimum=0, maximum=10))
    await ledger.place_hold("house", "ann", 4)
    facts = {"account_id": "ann", "max_balance_minor": "10", "change_minor": "7"}
    return ledger.post("house", "ann", 7), facts


@provokes("PROVIDER_UNKNOWN", INVALID_ARGUMENT)
async def deposit_at_unknown_provider(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Provider accounts are the server's configuration."""
    return Cashier(ledger).initiate(provider="nobody"), {"field": "provider", "provider": "nobody"}


@provokes("PROVIDER_CURRENCY_UNSUPPORTED", INVALID_ARGUMENT)
async def deposit_more_than_provider_takes(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A provider has bounds of its own."""
    facts = {
        "field": "amount_minor",
        "provider": PROVIDER,
        "currency_code": "EUR",
        "amount_minor": str(LARGEST_AMOUNT + 1),
    }
    return Cashier(ledger).initiate(LARGEST_AMOUNT + 1), facts


@provokes("REPORT_MALFORMED", INVALID_ARGUMENT)
async def import_empty_file(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A report is read whole or not at all."""
    return Settler(ledger).send(b""), {"line": "1", "problems": "line 1: the file is empty"}


@provokes("SETTLEMENT_BATCH_NOT_FOUND", NOT_FOUND)
async def confirm_unknown_batch(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Batches come by reports."""
    return Settler(ledger).confirm("po_nothing"), {"batch_id": "po_nothing"}


@provokes("SETTLEMENT_BATCH_NOT_BALANCED", FAILED_PRECONDITION)
async def confirm_unbalanced_batch(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Lines and pay-out differ by 5."""
    settler = Settler(ledger)
    await settler.send(stripe_file([charge(100), paid(105)]))
    return settler.confirm(), {"batch_id": "po_1", "difference_minor": "5"}


@provokes("WALLET_NOT_FOUND", NOT_FOUND)
async def read_wallet_of_nobody(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A wallet is a player's accounts."""
    return Cashier(ledger).wallet("nobody"), {"player_id": "nobody"}


@provokes("DEPOSIT_NOT_FOUND", NOT_FOUND)
async def refund_unknown_deposit(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    return Cashier(ledger).refund("dep_nothing", 1), {"deposit_id": "dep_nothing"}


@provokes("WITHDRAWAL_NOT_FOUND", NOT_FOUND)
async def approve_unknown_withdrawal(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    return Cashier(ledger).approve("wd_nothing"), {"withdrawal_id": "wd_nothing"}


@provokes("PROVIDER_EVENT_NOT_FOUND", NOT_FOUND)
async def replay_unknown_event(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    return Cashier(ledger).replay("evt_nothing"), {"provider_event_id": "evt_nothing"}


@provokes("PROVIDER_REF_TAKEN", ALREADY_EXISTS)
async def deposit_with_taken_ref(ledger: Ledger, clock: FakeClock) -> Provoked:
    """One payment of the provider is one deposit."""
    cashier = Cashier(ledger)
    deposit = await cashier.initiate(provider_ref="pay")
    facts = {"provider_ref": "pay", "payment_id": deposit.deposit_id}
    return cashier.initiate(provider_ref="pay"), facts


@provokes("PLAYER_CANCEL_NOT_ALLOWED", FAILED_PRECONDITION)
async def cancel_against_policy(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Players may cancel only where the tenant says so."""
    cashier = Cashier(ledger)
    await cashier.captured()
    withdrawal = await cashier.request()
    return cashier.cancel(withdrawal.withdrawal_id), {"withdrawal_id": withdrawal.withdrawal_id}


@provokes("SECOND_REVIEWER_REQUIRED", FAILED_PRECONDITION)
async def approve_twice_alone(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Four eyes are two people."""
    cashier = Cashier(ledger)
    await cashier.set_policy(second_review_from_minor={"EUR": 1})
    await cashier.captured()
    withdrawal = await cashier.request()
    await cashier.approve(withdrawal.withdrawal_id, "eve")
    facts = {"withdrawal_id": withdrawal.withdrawal_id, "reviewer": "eve"}
    return cashier.approve(withdrawal.withdrawal_id, "eve"), facts


@provokes("WITHDRAWAL_STATE_MISMATCH", ABORTED)
async def approve_what_a_colleague_has_approved(ledger: Ledger, clock: FakeClock) -> Provoked:
    """What the reviewer has seen is not what stands there."""
    cashier = Cashier(ledger)
    await cashier.set_policy(second_review_from_minor={"EUR": 1})
    await cashier.captured()
    withdrawal = await cashier.request()
    await cashier.approve(withdrawal.withdrawal_id, "eve")
    facts = {
        "withdrawal_id": withdrawal.withdrawal_id,
        "state": "REQUESTED",
        "approvals": "1",
        "expected_state": "REQUESTED",
        "expected_approvals": "0",
    }
    requested = payment_pb2.WITHDRAWAL_STATE_REQUESTED
    late = cashier.approve(withdrawal.withdrawal_id, "ada", expected_state=requested, expected_approvals=0)
    return late, facts


@provokes("WITHDRAWAL_CLAIMED", FAILED_PRECONDITION)
async def claim_what_a_colleague_works_on(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Who does not say that they take it over is told who works on it."""
    cashier = Cashier(ledger)
    await cashier.captured()
    withdrawal = await cashier.request()
    claimed = await cashier.claim(withdrawal.withdrawal_id, "eve")
    expires = claimed.claim.expire_time.ToDatetime(UTC).isoformat()
    facts = {"withdrawal_id": withdrawal.withdrawal_id, "reviewer": "eve", "expire_time": expires}
    return cashier.claim(withdrawal.withdrawal_id, "ada"), facts


@provokes("TOO_MANY_NOTES", FAILED_PRECONDITION)
async def add_one_note_too_many(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Each record of a withdrawal has all of them."""
    cashier = Cashier(ledger)
    await cashier.captured()
    withdrawal = await cashier.request()
    for number in range(64):
        await cashier.add_note(withdrawal.withdrawal_id, str(number))
    facts = {"withdrawal_id": withdrawal.withdrawal_id, "limit": "64"}
    return cashier.add_note(withdrawal.withdrawal_id, "64"), facts


@provokes("ADJUSTMENT_NOT_FOUND", NOT_FOUND)
async def approve_unknown_adjustment(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    return Adjusters(ledger).approve("adj_nothing"), {"adjustment_id": "adj_nothing"}


@provokes("ADJUSTMENT_STATE_MISMATCH", ABORTED)
async def approve_adjustment_that_has_changed(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Somebody else was faster."""
    adjusters = Adjusters(ledger)
    await ledger.open("ann")
    asked = await adjusters.request()
    await adjusters.reject(asked.adjustment_id)
    facts = {"adjustment_id": asked.adjustment_id, "state": "REJECTED", "expected_state": "REQUESTED"}
    return adjusters.approve(asked.adjustment_id, expected_state=REQUESTED), facts


@provokes("SECOND_PERSON_REQUIRED", FAILED_PRECONDITION)
async def approve_own_adjustment(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Four eyes are two people."""
    adjusters = Adjusters(ledger)
    await ledger.open("ann")
    asked = await adjusters.request()
    facts = {"adjustment_id": asked.adjustment_id, "reviewer": "ada"}
    return adjusters.approve(asked.adjustment_id, "ada"), facts


@provokes("REQUESTER_REQUIRED", FAILED_PRECONDITION)
async def cancel_adjustment_of_another(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Who asked takes it back, and nobody else."""
    adjusters = Adjusters(ledger)
    await ledger.open("ann")
    asked = await adjusters.request()
    facts = {"adjustment_id": asked.adjustment_id, "actor": "grace"}
    return adjusters.cancel(asked.adjustment_id, "grace"), facts


@provokes("CALL_UNDER_WAY", FAILED_PRECONDITION)
async def mark_paid_while_provider_is_silent(ledger: Ledger, clock: FakeClock) -> Provoked:
    """The provider may have paid, or may be about to."""
    cashier = Cashier(ledger)
    await cashier.captured()
    withdrawal = await cashier.request(provider=SILENT_PROVIDER)
    await cashier.approve(withdrawal.withdrawal_id)
    await cashier.until_begun(withdrawal.withdrawal_id)
    return cashier.mark_paid(withdrawal.withdrawal_id), {"withdrawal_id": withdrawal.withdrawal_id}


@provokes("REFUND_EXCEEDS_CAPTURED", FAILED_PRECONDITION)
async def refund_more_than_captured(ledger: Ledger, clock: FakeClock) -> Provoked:
    """What came in can go back, and no more."""
    cashier = Cashier(ledger)
    deposit = await cashier.captured(500)
    facts = {"deposit_id": deposit.deposit_id, "amount_minor": "501", "refundable_minor": "500"}
    return cashier.refund(deposit.deposit_id, 501), facts


@provokes("HOLD_OWNED_BY_PAYMENT", FAILED_PRECONDITION)
async def release_hold_of_withdrawal(ledger: Ledger, clock: FakeClock) -> Provoked:
    """A payment's hold ends with the payment."""
    cashier = Cashier(ledger)
    await cashier.captured()
    withdrawal = await cashier.request()
    facts = {"hold_id": withdrawal.hold_id, "payment_id": withdrawal.withdrawal_id}
    return ledger.release(withdrawal.hold_id), facts


@provokes("TRANSACTION_OWNED_BY_PAYMENT", FAILED_PRECONDITION)
async def reverse_transaction_of_deposit(ledger: Ledger, clock: FakeClock) -> Provoked:
    """What a payment has posted, the payment alone takes back."""
    deposit = await Cashier(ledger).captured()
    [captured] = [
        entry.record.hold_captured
        for entry in await ledger.entries()
        if entry.record.HasField("hold_captured")
    ]
    transaction_id = captured.transaction.transaction_id
    facts = {"transaction_id": transaction_id, "payment_id": deposit.deposit_id}
    return ledger.reverse(transaction_id), facts


@provokes("RUN_NOT_FOUND", NOT_FOUND)
async def get_unknown_run(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    request = reconciliation_pb2.GetRunRequest(tenant_id=ledger.tenant_id, run_id="run_nothing")
    return ledger.stubs.reconciliation.GetRun(request), {"run_id": "run_nothing"}


@provokes("FINDING_NOT_REPAIRABLE", FAILED_PRECONDITION)
async def repair_finding_without_record(ledger: Ledger, clock: FakeClock) -> Provoked:
    """No provider has listed anything that could be booked."""
    found = await Desk(ledger).raised()
    request = finding_pb2.RepairFindingRequest(
        tenant_id=ledger.tenant_id, finding_id=found.finding_id, actor="ada"
    )
    return ledger.stubs.findings.RepairFinding(request), {"finding_id": found.finding_id}


@provokes("FINDING_NOT_FOUND", NOT_FOUND)
async def acknowledge_unknown_finding(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing has that id."""
    unknown = finding_pb2.Finding(finding_id="fnd_nothing", version=1)
    return Desk(ledger).acknowledge(unknown), {"finding_id": "fnd_nothing"}


@provokes("EVENT_CANNOT_SUPERSEDE", FAILED_PRECONDITION)
async def supersede_event_by_itself(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Nothing becomes what it is itself."""
    cashier = Cashier(ledger)
    [unread] = await cashier.ingest(
        cashier.event(
            payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED, unread_reason=payment_pb2.UNREAD_REASON_FIELD
        )
    )
    facts = {
        "provider_event_id": unread.event.provider_event_id,
        "superseded_by_event_id": unread.event.provider_event_id,
    }
    request = provider_event_pb2.SupersedeProviderEventRequest(
        tenant_id=ledger.tenant_id, idempotency_key=ledger.new_key(), **facts
    )
    return ledger.stubs.events.SupersedeProviderEvent(request), facts


@provokes("FINDING_VERSION_MISMATCH", ABORTED)
async def resolve_finding_that_has_changed(ledger: Ledger, clock: FakeClock) -> Provoked:
    """Somebody else was faster."""
    desk = Desk(ledger)
    found = await desk.raised()
    await desk.acknowledge(found)
    facts = {"finding_id": found.finding_id, "expected_version": "1", "version": "2"}
    return desk.resolve(found), facts


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
async def test_break_rule_over_wire_returns_reason_code_and_facts(
    case: Case, ledger: Ledger, clock: FakeClock
) -> None:
    """A refusal carries its code, reason and facts; only what was decided leaves a record."""
    call, facts = await case.provoke(ledger, clock)

    refused = await refusal(call)

    assert (refused.reason, refused.code) == (case.reason, case.code)
    assert refused.domain == "defter"
    assert refused.metadata == facts
    assert refused.message
    assert not refused.replayed
    assert refused.retry_delay_seconds is None
    assert "" not in refused.violated_fields
    assert "field" not in facts or facts["field"] in refused.violated_fields
    # By reason and not by the head: the call is under way from the moment at which it is made.
    recorded = [
        error_pb2.ErrorReason.Name(entry.record.request_rejected.reason)
        for entry in await ledger.entries()
        if entry.record.HasField("request_rejected")
    ]
    assert recorded.count(f"ERROR_REASON_{case.reason}") == case.record_count


async def test_reopen_finding_that_is_open_is_refused_with_both_states(ledger: Ledger) -> None:
    """An illegal step of a finding is told as one of an account is."""
    found = await Desk(ledger).raised()

    refused = await refusal(Desk(ledger).reopen(found))

    assert (refused.reason, refused.code) == ("ILLEGAL_TRANSITION", FAILED_PRECONDITION)
    assert refused.metadata == {"subject": found.finding_id, "from": "OPEN", "to": "REOPENED"}


def test_compare_table_with_contract_covers_every_reason() -> None:
    """No reason of the contract is without a test."""
    reasons = error_pb2.ErrorReason.DESCRIPTOR.values_by_name
    names = {name.removeprefix("ERROR_REASON_") for name in reasons}

    tabled = {case.reason for case in CASES}

    # BATCH_ABORTED never travels: a refused ATOMIC batch fails as a whole, with the refused item's
    # reason, so there are no results in which the other items could carry it.
    assert len(tabled) == len(CASES)
    assert tabled.isdisjoint(TESTED_ELSEWHERE)
    assert tabled | set(TESTED_ELSEWHERE) == names - {"UNSPECIFIED", "BATCH_ABORTED"}


@pytest.mark.parametrize("place", TESTED_ELSEWHERE.values())
def test_find_exempted_test_exists(place: str) -> None:
    """An exemption names a test that there is."""
    module, test = place.split("::")

    assert callable(getattr(importlib.import_module(module), test))


async def test_break_several_rules_returns_first_in_order(ledger: Ledger) -> None:
    """All accounts are looked for before any other rule is asked, and so on down the list."""
    await ledger.open("ann")
    await ledger.open("gone")
    await ledger.close("gone")
    await ledger.open("cold")
    await ledger.freeze("cold")
    await ledger.open("full", bounds=limits(maximum=0))
    broken = {
        "ACCOUNT_NOT_FOUND": leg("nobody", DEBIT, 1),
        "CURRENCY_MISMATCH": leg("house", DEBIT, 1, "USD"),
        "ACCOUNT_CLOSED": leg("gone", DEBIT, 1),
        "ACCOUNT_FROZEN": leg("cold", DEBIT, 1),
        "AMOUNT_OVERFLOW": leg("house", DEBIT, LARGEST),
        "INSUFFICIENT_FUNDS": leg("ann", DEBIT, 1),
        "BALANCE_LIMIT_EXCEEDED": leg("full", CREDIT, 1),
    }
    await ledger.open_house("vault")
    await ledger.post("house", "vault", 1)

    # The last leg breaks the first rule of the list; each round takes that one away.
    reasons = []
    while broken:
        legs = list(reversed(broken.values()))
        reasons.append((await refusal(ledger.submit(balanced(legs)))).reason)
        broken.pop(next(iter(broken)))

    assert reasons == [
        "ACCOUNT_NOT_FOUND",
        "CURRENCY_MISMATCH",
        "ACCOUNT_CLOSED",
        "ACCOUNT_FROZEN",
        "AMOUNT_OVERFLOW",
        "INSUFFICIENT_FUNDS",
        "BALANCE_LIMIT_EXCEEDED",
    ]


def balanced(legs: list[posting_pb2.NewPosting]) -> posting_pb2.NewTransaction:
    """Return the legs with mirrors on `house` or `vault` behind them, where one is needed."""
    mirrors = []
    for currency in {one.currency_code for one in legs}:
        members = [one for one in legs if one.currency_code == currency]
        debits = sum(one.amount_minor for one in members if one.direction == DEBIT)
        credits_ = sum(one.amount_minor for one in members if one.direction == CREDIT)
        missing = debits - credits_
        while missing:
            step = max(-LARGEST, min(LARGEST, missing))
            side = CREDIT if step > 0 else DEBIT
            mirrors.append(leg("house" if side == DEBIT else "vault", side, abs(step), currency))
            missing -= step
    return transaction(*legs, *mirrors)


async def test_fail_with_reason_in_batch_result_matches_status(ledger: Ledger) -> None:
    """A rejection in a batch carries the reason and the facts that a status would."""
    (result,) = await ledger.batch(ledger.transfer_item("house", "nobody", 1, key="one"))

    refused = await refusal(ledger.post("house", "nobody", 1, key="one"))

    assert result.rejection.reason == error_pb2.ERROR_REASON_ACCOUNT_NOT_FOUND
    assert dict(result.rejection.metadata) == refused.metadata == {"account_id": "nobody"}
    assert result.rejection.message == refused.message


async def test_read_rejection_from_journal_matches_status(ledger: Ledger) -> None:
    """What the caller was told is what the journal keeps."""
    refused = await refusal(ledger.post("house", "nobody", 1, key="one"))

    entry = await ledger.outcome("PostTransaction", "one")

    assert isinstance(entry, journal_pb2.JournalEntry)
    kept = entry.record.request_rejected
    assert kept.reason == error_pb2.ERROR_REASON_ACCOUNT_NOT_FOUND
    assert kept.message == refused.message
    assert dict(kept.metadata) == refused.metadata
