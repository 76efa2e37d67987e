package defter_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"defter.example/defter/clients/go/defter"
	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// ledger is a server that answers what a test says.
type ledger struct {
	ledgerv1.UnimplementedPostingServiceServer
	ledgerv1.UnimplementedJournalServiceServer
	ledgerv1.UnimplementedTenantServiceServer

	posts   func(context.Context, *ledgerv1.PostTransactionRequest) (*ledgerv1.PostTransactionResponse, error)
	lists   func(*ledgerv1.ListTransactionsRequest) (*ledgerv1.ListTransactionsResponse, error)
	watches func(*ledgerv1.WatchJournalRequest, watcher) error
	streams func(grpc.BidiStreamingServer[ledgerv1.StreamTransactionsRequest, ledgerv1.StreamTransactionsResponse]) error
	checks  func(grpc.ServerStreamingServer[ledgerv1.VerifyJournalResponse]) error
}

type watcher = grpc.ServerStreamingServer[ledgerv1.WatchJournalResponse]

func (l *ledger) PostTransaction(
	ctx context.Context, request *ledgerv1.PostTransactionRequest,
) (*ledgerv1.PostTransactionResponse, error) {
	return l.posts(ctx, request)
}

func (l *ledger) ListTransactions(
	_ context.Context, request *ledgerv1.ListTransactionsRequest,
) (*ledgerv1.ListTransactionsResponse, error) {
	return l.lists(request)
}

func (l *ledger) WatchJournal(request *ledgerv1.WatchJournalRequest, stream watcher) error {
	return l.watches(request, stream)
}

func (l *ledger) StreamTransactions(
	stream grpc.BidiStreamingServer[ledgerv1.StreamTransactionsRequest, ledgerv1.StreamTransactionsResponse],
) error {
	return l.streams(stream)
}

func (l *ledger) VerifyJournal(
	_ *ledgerv1.VerifyJournalRequest, stream grpc.ServerStreamingServer[ledgerv1.VerifyJournalResponse],
) error {
	return l.checks(stream)
}

func (l *ledger) ListCurrencies(
	context.Context, *ledgerv1.ListCurrenciesRequest,
) (*ledgerv1.ListCurrenciesResponse, error) {
	return &ledgerv1.ListCurrenciesResponse{
		Currencies: []*ledgerv1.Currency{{CurrencyCode: "ETH", DecimalPlaces: 18}},
	}, nil
}

// serves runs the ledger until the test ends; it returns its address.
func (l *ledger) serves(t *testing.T, proof credentials.TransportCredentials) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.servesAt(t, listener, proof)
}

func (l *ledger) servesAt(t *testing.T, listener net.Listener, proof credentials.TransportCredentials) string {
	t.Helper()
	var options []grpc.ServerOption
	if proof != nil {
		options = append(options, grpc.Creds(proof))
	}
	server := grpc.NewServer(options...)
	ledgerv1.RegisterPostingServiceServer(server, l)
	ledgerv1.RegisterJournalServiceServer(server, l)
	ledgerv1.RegisterTenantServiceServer(server, l)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// refuses is an error as a ledger answers it.
func refuses(code codes.Code, reason string, metadata map[string]string, others ...proto.Message) error {
	told := status.New(code, "no")
	details := others
	if reason != "" {
		details = append(details, &errdetails.ErrorInfo{Reason: reason, Domain: "defter", Metadata: metadata})
	}
	for _, each := range details {
		told, _ = told.WithDetails(each.(interface {
			proto.Message
			Reset()
			String() string
			ProtoMessage()
		}))
	}
	return told.Err()
}

// comesAgain asks to come again at once.
func comesAgain() *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(0)}
}

// header returns what a caller has sent along.
func header(ctx context.Context, name string) []string {
	return metadata.ValueFromIncomingContext(ctx, name)
}

// cent is a transaction of one cent from the house to the player.
func cent() *ledgerv1.PostTransactionRequest {
	amount := defter.Money{Minor: 1, Currency: "EUR"}
	return &ledgerv1.PostTransactionRequest{Transaction: &ledgerv1.NewTransaction{
		Type:     ledgerv1.TransactionType_TRANSACTION_TYPE_WIN,
		Postings: []*ledgerv1.NewPosting{defter.Debit("house", amount), defter.Credit("player", amount)},
	}}
}
