package defter_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"defter.example/defter/clients/go/defter"
	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

type posting = grpc.BidiStreamingServer[ledgerv1.StreamTransactionsRequest, ledgerv1.StreamTransactionsResponse]

// postings is a ledger that decides each key once, and breaks a connection after so many results.
type postings struct {
	ledger
	ends error

	mutex  sync.Mutex
	breaks []int
	keys   []string
}

// decided returns the keys that were decided so far. A connection whose caller has left may still be at work.
func (p *postings) decided() []string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return slices.Clone(p.keys)
}

// decide notes a key, and says whether it was decided before.
func (p *postings) decide(key string) (replayed bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if slices.Contains(p.keys, key) {
		return true
	}
	p.keys = append(p.keys, key)
	return false
}

// nextBreak says after how many results a connection breaks; never where that is negative.
func (p *postings) nextBreak() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(p.breaks) == 0 {
		return -1
	}
	next := p.breaks[0]
	p.breaks = p.breaks[1:]
	return next
}

func (p *postings) serve(stream posting) error {
	left := p.nextBreak()
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		for _, item := range request.GetItems() {
			key := item.GetIdempotencyKey()
			replayed := p.decide(key)
			// What is decided before a break has no answer.
			if left == 0 {
				return p.ends
			}
			left--
			_ = stream.Send(&ledgerv1.StreamTransactionsResponse{Results: []*ledgerv1.PostTransactionResult{
				{IdempotencyKey: short(key), Replayed: replayed},
			}})
		}
	}
}

func short(key string) string { return key[:min(len(key), 255)] }

func postsTo(t *testing.T, ends error, breaks ...int) (*postings, *defter.Client) {
	t.Helper()
	server := &postings{breaks: breaks, ends: ends}
	server.streams = server.serve
	return server, opened(t, server.serves(t, nil), defter.WithTenant("demo"))
}

func keysOf(count int) []string {
	var keys []string
	for i := range count {
		keys = append(keys, fmt.Sprintf("key-%d", i))
	}
	return keys
}

func itemsOf(keys []string) iter.Seq[*ledgerv1.PostTransactionItem] {
	return func(yield func(*ledgerv1.PostTransactionItem) bool) {
		for _, key := range keys {
			if !yield(&ledgerv1.PostTransactionItem{IdempotencyKey: key, Transaction: cent().GetTransaction()}) {
				return
			}
		}
	}
}

// TestEachItemHasOneResult in the order of the items, whatever breaks the connections.
func TestEachItemHasOneResult(t *testing.T) {
	away := status.Error(codes.Unavailable, "away")
	for name, each := range map[string]struct {
		count  int
		ends   error
		breaks []int
	}{
		"none":            {0, nil, nil},
		"whole":           {3_000, nil, nil},
		"broken":          {3_000, away, []int{1, 0, 999}},
		"ended":           {300, nil, []int{5, 5}},
		"at the last one": {300, away, []int{299, 0}},
		"full":            {300, refuses(codes.ResourceExhausted, "LANE_FULL", nil, comesAgain()), []int{150}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := postsTo(t, each.ends, each.breaks...)
			var found []string
			for result, err := range client.Postings.StreamTransactions(context.Background(), itemsOf(keysOf(each.count))) {
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, result.GetIdempotencyKey())
			}
			if !slices.Equal(found, keysOf(each.count)) || !slices.Equal(server.decided(), found) {
				t.Errorf("%d results of %d decisions", len(found), len(server.decided()))
			}
		})
	}
}

// TestItemIsSentAsItComes does not wait for others: the next item follows from the result of the one before.
func TestItemIsSentAsItComes(t *testing.T) {
	_, client := postsTo(t, nil)
	results := make(chan struct{})
	items := func(yield func(*ledgerv1.PostTransactionItem) bool) {
		for _, key := range keysOf(5) {
			if !yield(&ledgerv1.PostTransactionItem{IdempotencyKey: key}) {
				return
			}
			<-results
		}
	}
	for _, err := range client.Postings.StreamTransactions(context.Background(), items) {
		if err != nil {
			t.Fatal(err)
		}
		results <- struct{}{}
	}
}

// TestItemWithoutAKeyGetsOne and one that is too long is known by what the result says of it.
func TestItemWithoutAKeyGetsOne(t *testing.T) {
	_, client := postsTo(t, nil)
	keys := []string{"", strings.Repeat("k", 300)}
	var lengths []int
	for result, err := range client.Postings.StreamTransactions(context.Background(), itemsOf(keys)) {
		if err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, len(result.GetIdempotencyKey()))
	}
	if !slices.Equal(lengths, []int{26, 255}) {
		t.Error(lengths)
	}
}

// TestAnswerEndsAStream yields it as the last, with the first item of which nothing is known.
func TestAnswerEndsAStream(t *testing.T) {
	_, client := postsTo(t, refuses(codes.PermissionDenied, "PERMISSION_MISSING", nil), 2)
	var last error
	count := 0
	for _, err := range client.Postings.StreamTransactions(context.Background(), itemsOf(keysOf(9))) {
		count++
		last = err
	}
	var found *defter.Error
	if !errors.As(last, &found) || !errors.Is(last, defter.ErrPermissionMissing) || count != 3 {
		t.Fatalf("%v after %d", last, count)
	}
	if !found.OutcomeUnknown || found.Key != "key-2" {
		t.Errorf("outcome of %s unknown: %t", found.Key, found.OutcomeUnknown)
	}
}

// TestStreamWithoutProgressEnds where nothing comes through for as long as a call may take.
func TestStreamWithoutProgressEnds(t *testing.T) {
	client := opened(t, closedAddress(t), defter.WithTimeout(300*time.Millisecond))
	var last error
	for _, err := range client.Postings.StreamTransactions(context.Background(), itemsOf(keysOf(9))) {
		last = err
	}
	if !errors.Is(last, defter.KindRetry) {
		t.Error(last)
	}
}

// TestCallerMayLeaveAStream after any result, and nothing is stuck.
func TestCallerMayLeaveAStream(t *testing.T) {
	server, client := postsTo(t, nil)
	isRead := make(chan struct{})
	items := func(yield func(*ledgerv1.PostTransactionItem) bool) {
		defer close(isRead)
		itemsOf(keysOf(100_000))(yield)
	}
	for range client.Postings.StreamTransactions(context.Background(), items) {
		break
	}
	<-isRead
	_ = client.Close()
	if len(server.decided()) == 100_000 {
		t.Error("everything was sent, though the caller wanted no more")
	}
}
