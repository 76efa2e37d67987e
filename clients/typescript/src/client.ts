// Owns the client: one set of connections, and all services.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { BackfillService } from "./gen/defter/backfill/v1/backfill_pb.js";
import { AccessService } from "./gen/defter/identity/v1/access_pb.js";
import { AccountService } from "./gen/defter/ledger/v1/account_pb.js";
import { AdjustmentService } from "./gen/defter/ledger/v1/adjustment_pb.js";
import { HoldService } from "./gen/defter/ledger/v1/hold_pb.js";
import {
  JournalService,
  type JournalEntry,
  type WatchJournalRequestSchema,
} from "./gen/defter/ledger/v1/journal_pb.js";
import { PostingService, type PostTransactionResult } from "./gen/defter/ledger/v1/posting_pb.js";
import { TenantService } from "./gen/defter/ledger/v1/tenant_pb.js";
import { DepositService } from "./gen/defter/payments/v1/deposit_pb.js";
import { OutboundService } from "./gen/defter/payments/v1/outbound_pb.js";
import { PlayerService } from "./gen/defter/payments/v1/player_pb.js";
import { ProviderEventService } from "./gen/defter/payments/v1/provider_event_pb.js";
import { WalletService } from "./gen/defter/payments/v1/wallet_pb.js";
import { WithdrawalService } from "./gen/defter/payments/v1/withdrawal_pb.js";
import { FindingService } from "./gen/defter/reconciliation/v1/finding_pb.js";
import { ReconciliationService } from "./gen/defter/reconciliation/v1/reconciliation_pb.js";
import { SettlementService } from "./gen/defter/reconciliation/v1/settlement_pb.js";
import type { ClientOptions, TransactionsOptions, WatchOptions } from "./options.js";
import { serviceOf, type Service } from "./services.js";
import { TransactionStream, type Items } from "./transactions.js";
import { Watch } from "./watch.js";
import { Wire } from "./wire.js";

/** The methods of the journal's service. */
export interface Journal extends Omit<Service<typeof JournalService>, "watchJournal"> {
  /**
   * Iterate over the journal behind a sequence or a checkpoint, without end: first what is there, then what is being
   * written, each record once and in order. A broken connection is followed by another try, for ever; only answers
   * end it, such as NOT_YET_RECORDED, and a record that does not follow the last one (`JournalBrokenError`).
   */
  watchJournal(
    request: MessageInitShape<typeof WatchJournalRequestSchema>,
    options?: WatchOptions,
  ): AsyncIterable<JournalEntry>;
}

/** The methods of the service of postings. */
export interface Postings extends Omit<Service<typeof PostingService>, "streamTransactions"> {
  /**
   * Post transactions as they come, and iterate over their results, in their order, one for each. After a break those
   * without a result are sent again; their keys make it harmless. A refused item has a `rejection`
   * (`rejectionError`), and does not end the stream.
   */
  streamTransactions(items: Items, options?: TransactionsOptions): AsyncGenerator<PostTransactionResult, void>;
}

/**
 * Calls a ledger. Connections are opened at first use.
 *
 * @example
 * const ledger = new LedgerClient("127.0.0.1:50051", { tenantId: "demo" });
 * const { response, key } = await ledger.postings.postTransaction({ transaction: { type, postings } });
 */
export class LedgerClient {
  readonly tenants: Service<typeof TenantService>;
  readonly accounts: Service<typeof AccountService>;
  readonly postings: Postings;
  readonly adjustments: Service<typeof AdjustmentService>;
  readonly holds: Service<typeof HoldService>;
  readonly journal: Journal;
  readonly deposits: Service<typeof DepositService>;
  readonly withdrawals: Service<typeof WithdrawalService>;
  readonly wallets: Service<typeof WalletService>;
  readonly providerEvents: Service<typeof ProviderEventService>;
  readonly players: Service<typeof PlayerService>;
  readonly outbound: Service<typeof OutboundService>;
  readonly reconciliation: Service<typeof ReconciliationService>;
  readonly findings: Service<typeof FindingService>;
  readonly settlements: Service<typeof SettlementService>;
  readonly backfill: Service<typeof BackfillService>;
  readonly access: Service<typeof AccessService>;
  readonly #wire: Wire;

  /**
   * @param target - `host:port` of a server, or several: they are used in turn, and one that is away is passed over.
   * @throws ProofUnusableError - a file of the proof can't be read, or the files do not go together.
   */
  constructor(target: string | readonly string[], options: ClientOptions = {}) {
    const wire = new Wire(typeof target === "string" ? [target] : target, options);
    this.#wire = wire;
    this.tenants = serviceOf(wire, TenantService);
    this.accounts = serviceOf(wire, AccountService);
    this.postings = {
      ...serviceOf(wire, PostingService),
      streamTransactions: (items, ofStream = {}) =>
        new TransactionStream(wire, PostingService.method.streamTransactions, ofStream).results(items),
    };
    this.adjustments = serviceOf(wire, AdjustmentService);
    this.holds = serviceOf(wire, HoldService);
    this.journal = {
      ...serviceOf(wire, JournalService),
      watchJournal: (request, ofWatch = {}) => new Watch(wire, JournalService.method.watchJournal, request, ofWatch),
    };
    this.deposits = serviceOf(wire, DepositService);
    this.withdrawals = serviceOf(wire, WithdrawalService);
    this.wallets = serviceOf(wire, WalletService);
    this.providerEvents = serviceOf(wire, ProviderEventService);
    this.players = serviceOf(wire, PlayerService);
    this.outbound = serviceOf(wire, OutboundService);
    this.reconciliation = serviceOf(wire, ReconciliationService);
    this.findings = serviceOf(wire, FindingService);
    this.settlements = serviceOf(wire, SettlementService);
    this.backfill = serviceOf(wire, BackfillService);
    this.access = serviceOf(wire, AccessService);
  }

  /** Close the connections; calls that have begun go on to their end, but are not tried again. */
  close(): void {
    this.#wire.close();
  }
}
