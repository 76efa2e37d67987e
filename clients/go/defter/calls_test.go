package defter_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"defter.example/defter/clients/go/defter"
	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// answers is a ledger that answers one error after the other, and then the call; it keeps what it was asked.
type answers struct {
	ledger
	errors  []error
	asked   []*ledgerv1.PostTransactionRequest
	headers []context.Context
}

func answering(found ...error) *answers {
	made := &answers{errors: found}
	made.posts = func(
		ctx context.Context, request *ledgerv1.PostTransactionRequest,
	) (*ledgerv1.PostTransactionResponse, error) {
		made.asked = append(made.asked, request)
		made.headers = append(made.headers, ctx)
		if len(made.asked) <= len(made.errors) {
			return nil, made.errors[len(made.asked)-1]
		}
		_ = grpc.SetTrailer(ctx, metadata.Pairs("idempotent-replayed", "true"))
		return &ledgerv1.PostTransactionResponse{}, nil
	}
	return made
}

// TestCallIsTriedAgain makes the same request with the same key until it is answered.
func TestCallIsTriedAgain(t *testing.T) {
	server := answering(
		status.Error(codes.Unavailable, "away"),
		refuses(codes.ResourceExhausted, "LANE_FULL", nil, comesAgain()),
		refuses(codes.FailedPrecondition, "NEWER_THAN_THE_CLIENT", nil, comesAgain()),
	)
	client := opened(t, server.serves(t, nil), defter.WithTenant("demo"))
	request := cent()
	before := proto.Clone(request)
	posted, err := client.Postings.PostTransaction(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	if len(server.asked) != 4 || len(posted.Key) != 26 || !posted.Replayed {
		t.Errorf("%d tries with %q, replayed %t", len(server.asked), posted.Key, posted.Replayed)
	}
	for _, asked := range server.asked {
		if asked.GetIdempotencyKey() != posted.Key || asked.GetTenantId() != "demo" {
			t.Errorf("asked with %q of %q", asked.GetIdempotencyKey(), asked.GetTenantId())
		}
	}
	if !proto.Equal(request, before) {
		t.Error("the caller's request was changed")
	}
}

// TestKeyOfTheCallerStands uses the key of the request before that of the option, and both before its own.
func TestKeyOfTheCallerStands(t *testing.T) {
	server := answering()
	client := opened(t, server.serves(t, nil))
	own := cent()
	own.IdempotencyKey, own.TenantId = "own", "other"
	for _, each := range []struct {
		request *ledgerv1.PostTransactionRequest
		key     string
	}{{own, "own"}, {cent(), "option"}} {
		posted, err := client.Postings.PostTransaction(context.Background(), each.request, defter.WithKey("option"))
		if err != nil || posted.Key != each.key || server.asked[len(server.asked)-1].GetIdempotencyKey() != each.key {
			t.Errorf("%v: the key is %q, not %q", err, posted.Key, each.key)
		}
	}
}

// TestAnswerIsNotTriedAgain takes every code without RetryInfo for an answer, but for UNAVAILABLE.
func TestAnswerIsNotTriedAgain(t *testing.T) {
	unknown := []codes.Code{codes.Internal, codes.DeadlineExceeded, codes.Canceled, codes.Unknown}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		if code == codes.Unavailable {
			continue
		}
		t.Run(code.String(), func(t *testing.T) {
			server := answering(status.Error(code, "no"))
			client := opened(t, server.serves(t, nil))
			_, err := client.Postings.PostTransaction(context.Background(), cent(), defter.WithKey("k"))
			var found *defter.Error
			if !errors.As(err, &found) || found.Code != code || status.Code(err) != code || found.Key != "k" {
				t.Fatalf("%v", err)
			}
			if len(server.asked) != 1 || found.OutcomeUnknown != slices.Contains(unknown, code) {
				t.Errorf("%d tries, outcome unknown %t", len(server.asked), found.OutcomeUnknown)
			}
		})
	}
}

// TestOutcomeOfALostTryIsUnknown says so until the ledger has decided about the key.
func TestOutcomeOfALostTryIsUnknown(t *testing.T) {
	lost := status.Error(codes.Unavailable, "away")
	denied := refuses(codes.PermissionDenied, "PERMISSION_MISSING", nil)
	for name, each := range map[string]struct {
		first, last error
		isUnknown   bool
	}{
		"decided":       {lost, refuses(codes.FailedPrecondition, "INSUFFICIENT_FUNDS", nil), false},
		"reused":        {lost, refuses(codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", nil), false},
		"access":        {lost, denied, true},
		"nothing":       {lost, status.Error(codes.NotFound, "no such service"), true},
		"newer":         {lost, refuses(codes.FailedPrecondition, "NEWER_THAN_THE_CLIENT", nil), true},
		"store":         {refuses(codes.Unavailable, "STORE_UNAVAILABLE", nil), denied, true},
		"nothing begun": {refuses(codes.Unavailable, "SHUTTING_DOWN", nil), denied, false},
		"full":          {refuses(codes.ResourceExhausted, "LANE_FULL", nil, comesAgain()), denied, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := opened(t, answering(each.first, each.last).serves(t, nil))
			_, err := client.Postings.PostTransaction(context.Background(), cent())
			var found *defter.Error
			if !errors.As(err, &found) || found.OutcomeUnknown != each.isUnknown {
				t.Errorf("%v: outcome unknown %t", err, found.OutcomeUnknown)
			}
		})
	}
}

// TestTriesEndBeforeTheDeadline raises the last error when the server wants more time than there is.
func TestTriesEndBeforeTheDeadline(t *testing.T) {
	later := comesAgain()
	later.RetryDelay.Seconds = 3600
	full := refuses(codes.ResourceExhausted, "LANE_FULL", map[string]string{"tenant_id": "demo"}, later)
	server := answering(full, full)
	client := opened(t, server.serves(t, nil))
	_, err := client.Postings.PostTransaction(context.Background(), cent())
	var found *defter.Error
	if !errors.As(err, &found) || !errors.Is(err, defter.ErrLaneFull) || !errors.Is(err, defter.KindRetry) {
		t.Fatal(err)
	}
	if len(server.asked) != 1 || found.RetryDelay != time.Hour || !found.Retryable() || found.OutcomeUnknown {
		t.Errorf("%d tries, %v", len(server.asked), found.RetryDelay)
	}
}

// TestServerThatIsAwayIsToldAtTheDeadline tries until then, by the deadline of the call, the context or the client.
func TestServerThatIsAwayIsToldAtTheDeadline(t *testing.T) {
	short := 300 * time.Millisecond
	bounded, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	for name, each := range map[string]struct {
		ctx     context.Context
		client  []defter.Option
		options []defter.CallOption
	}{
		"context": {ctx: bounded},
		"call":    {ctx: context.Background(), options: []defter.CallOption{defter.WithCallTimeout(short)}},
		"client":  {ctx: context.Background(), client: []defter.Option{defter.WithTimeout(short)}},
	} {
		t.Run(name, func(t *testing.T) {
			client := opened(t, closedAddress(t), each.client...)
			_, err := client.Postings.PostTransaction(each.ctx, cent(), each.options...)
			var found *defter.Error
			if !errors.As(err, &found) || !found.OutcomeUnknown || found.Kind == defter.KindRefused {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestEndedContextIsFoundInTheError works with errors.Is, as everywhere in Go.
func TestEndedContextIsFoundInTheError(t *testing.T) {
	client := opened(t, closedAddress(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := client.Postings.PostTransaction(ctx, cent())
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestContextThatEndsBetweenTwoTriesIsFoundInTheError with the key, and with what the first try has left open.
func TestContextThatEndsBetweenTwoTriesIsFoundInTheError(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	later := comesAgain()
	later.RetryDelay.Seconds = 300
	server := &ledger{}
	server.posts = func(
		context.Context, *ledgerv1.PostTransactionRequest,
	) (*ledgerv1.PostTransactionResponse, error) {
		time.AfterFunc(100*time.Millisecond, cancel)
		return nil, refuses(codes.Unavailable, "", nil, later)
	}
	client := opened(t, server.serves(t, nil))
	_, err := client.Postings.PostTransaction(ctx, cent(), defter.WithKey("k"))
	var found *defter.Error
	if !errors.As(err, &found) || !errors.Is(err, context.Canceled) || !found.OutcomeUnknown || found.Key != "k" {
		t.Errorf("%v: %+v", err, found)
	}
}

// TestNoCallIsWithoutADeadline but streams are, unless their caller says otherwise.
func TestNoCallIsWithoutADeadline(t *testing.T) {
	server := answering()
	var streams []bool
	server.checks = func(stream grpc.ServerStreamingServer[ledgerv1.VerifyJournalResponse]) error {
		_, ok := stream.Context().Deadline()
		streams = append(streams, ok)
		return nil
	}
	client := opened(t, server.serves(t, nil), defter.WithTimeout(0))
	if _, err := client.Postings.PostTransaction(context.Background(), cent()); err != nil {
		t.Fatal(err)
	}
	if _, ok := server.headers[0].Deadline(); !ok {
		t.Error("a call is without a deadline")
	}
	bounded, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	for _, each := range []struct {
		ctx     context.Context
		options []defter.CallOption
	}{
		{context.Background(), nil},
		{bounded, nil},
		{context.Background(), []defter.CallOption{defter.WithCallTimeout(hang)}},
	} {
		for _, err := range client.Journal.VerifyJournal(each.ctx, &ledgerv1.VerifyJournalRequest{}, each.options...) {
			t.Fatal(err)
		}
	}
	if !slices.Equal(streams, []bool{false, true, true}) {
		t.Error(streams)
	}
}

// TestEmptyKeyIsNoWishForANewOne leaves it to the ledger to refuse it.
func TestEmptyKeyIsNoWishForANewOne(t *testing.T) {
	server := answering()
	client := opened(t, server.serves(t, nil))
	posted, err := client.Postings.PostTransaction(context.Background(), cent(), defter.WithKey(""))
	if err != nil || posted.Key != "" || server.asked[0].GetIdempotencyKey() != "" {
		t.Errorf("%v: %+v", err, server.asked)
	}
}

// TestErrorOfABatchTellsItsKeys so that they can be sent again.
func TestErrorOfABatchTellsItsKeys(t *testing.T) {
	client := opened(t, closedAddress(t), defter.WithTimeout(300*time.Millisecond))
	request := &ledgerv1.BatchPostTransactionsRequest{Items: slices.Collect(itemsOf(keysOf(3)))}
	_, err := client.Postings.BatchPostTransactions(context.Background(), request)
	var found *defter.Error
	if !errors.As(err, &found) || !found.OutcomeUnknown || !slices.Equal(found.Keys, keysOf(3)) {
		t.Errorf("%v: %+v", err, found)
	}
}

// TestTraceAndMetadataAreSentAlong sends them with each try.
func TestTraceAndMetadataAreSentAlong(t *testing.T) {
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	server := answering(status.Error(codes.Unavailable, "away"))
	client := opened(t, server.serves(t, nil), defter.WithTraceParent(func(context.Context) string { return parent }))
	_, err := client.Postings.PostTransaction(
		context.Background(), cent(), defter.WithMetadata("x-request-id", "17"),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, ctx := range server.headers {
		if !slices.Equal(header(ctx, "traceparent"), []string{parent}) || header(ctx, "x-request-id")[0] != "17" {
			t.Errorf("%v, %v", header(ctx, "traceparent"), header(ctx, "x-request-id"))
		}
	}
}

// TestTextThatIsNotUTF8NeverLeavesTheClient so nobody has to ask what became of it.
func TestTextThatIsNotUTF8NeverLeavesTheClient(t *testing.T) {
	server := answering(status.Error(codes.Internal, "never asked"))
	client := opened(t, server.serves(t, nil))
	request := cent()
	request.Transaction.Reference = "\xff"
	_, err := client.Postings.PostTransaction(context.Background(), request)
	var found *defter.Error
	if !errors.As(err, &found) || found.OutcomeUnknown || !errors.Is(err, defter.KindRequest) || len(server.headers) != 0 {
		t.Errorf("%v: %+v, %d calls", err, found, len(server.headers))
	}
}

// TestMetadataComesInPairs and where one is not whole the call is never begun.
func TestMetadataComesInPairs(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a value is missing, and nobody said so")
		}
	}()
	defter.WithMetadata(strings.Fields("x-request-id")...)
}

// TestPagesAreFetchedOneByOne iterates over all items, each page with tries of its own and the same request.
func TestPagesAreFetchedOneByOne(t *testing.T) {
	var asked []string
	server := &ledger{}
	server.lists = func(request *ledgerv1.ListTransactionsRequest) (*ledgerv1.ListTransactionsResponse, error) {
		asked = append(asked, request.GetReference()+request.GetPageToken())
		switch {
		case len(asked)%2 == 1:
			return nil, status.Error(codes.Unavailable, "away")
		case request.GetPageToken() == "":
			return &ledgerv1.ListTransactionsResponse{NextPageToken: "b", Transactions: numbered("1", "2")}, nil
		case request.GetPageToken() == "b":
			return &ledgerv1.ListTransactionsResponse{NextPageToken: "c"}, nil
		}
		return &ledgerv1.ListTransactionsResponse{Transactions: numbered("3")}, nil
	}
	client := opened(t, server.serves(t, nil))
	request := &ledgerv1.ListTransactionsRequest{Reference: "r"}
	var found []string
	for each, err := range client.Postings.ListTransactions(context.Background(), request) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, each.GetTransactionId())
	}
	if !slices.Equal(found, []string{"1", "2", "3"}) || request.GetPageToken() != "" {
		t.Errorf("%v after %q", found, request.GetPageToken())
	}
	if !slices.Equal(asked, []string{"r", "r", "rb", "rb", "rc", "rc"}) {
		t.Errorf("asked for %v", asked)
	}
}

// TestErrorEndsAList yields it once, as the last.
func TestErrorEndsAList(t *testing.T) {
	server := &ledger{}
	server.lists = func(*ledgerv1.ListTransactionsRequest) (*ledgerv1.ListTransactionsResponse, error) {
		return nil, refuses(codes.NotFound, "TENANT_NOT_FOUND", nil)
	}
	client := opened(t, server.serves(t, nil))
	count := 0
	for each, err := range client.Postings.ListTransactions(context.Background(), &ledgerv1.ListTransactionsRequest{}) {
		if count++; each != nil || !errors.Is(err, defter.ErrTenantNotFound) {
			t.Errorf("%v, %v", each, err)
		}
	}
	if count != 1 {
		t.Errorf("yielded %d times", count)
	}
}

// TestAnswersOfSeveralMessages come one by one; the call is made again only before the first.
func TestAnswersOfSeveralMessages(t *testing.T) {
	for name, each := range map[string]struct {
		fails []bool
		sends int
		calls int
		ends  bool
	}{
		"whole":                {[]bool{false}, 2, 1, true},
		"away at first":        {[]bool{true, false}, 2, 2, true},
		"broken in the middle": {[]bool{false}, 1, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			server := &ledger{}
			server.checks = func(stream grpc.ServerStreamingServer[ledgerv1.VerifyJournalResponse]) error {
				if calls++; each.fails[calls-1] {
					return status.Error(codes.Unavailable, "away")
				}
				for range each.sends {
					_ = stream.Send(&ledgerv1.VerifyJournalResponse{})
				}
				if each.ends {
					return nil
				}
				return status.Error(codes.Unavailable, "away")
			}
			client := opened(t, server.serves(t, nil))
			found, failed := 0, 0
			for _, err := range client.Journal.VerifyJournal(context.Background(), &ledgerv1.VerifyJournalRequest{}) {
				if err == nil {
					found++
				} else {
					failed++
				}
			}
			if found != each.sends || calls != each.calls || (failed == 0) != each.ends {
				t.Errorf("%d messages of %d calls, %d errors", found, calls, failed)
			}
		})
	}
}

func numbered(ids ...string) []*ledgerv1.Transaction {
	var found []*ledgerv1.Transaction
	for _, id := range ids {
		found = append(found, &ledgerv1.Transaction{TransactionId: id})
	}
	return found
}
