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

// TestErrorOfAStreamTellsAllKeysWithoutAResult whatever has ended it, of items with keys of the caller and of the client.
func TestErrorOfAStreamTellsAllKeysWithoutAResult(t *testing.T) {
	for name, end := range map[string]error{
		"away":   status.Error(codes.Unavailable, "away"),
		"full":   refuses(codes.ResourceExhausted, "LANE_FULL", nil),
		"answer": refuses(codes.PermissionDenied, "PERMISSION_MISSING", nil),
		"fault":  status.Error(codes.Internal, "no"),
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := postsTo(t, end, 3)
			address := server.serves(t, nil)
			// What breaks after the first one has no results any more.
			server.breaks = append(server.breaks, make([]int, 10_000)...)
			client := opened(t, address, defter.WithTimeout(300*time.Millisecond))
			keys := keysOf(9)
			keys[8] = ""
			answered := 0
			var last error
			for _, err := range client.Postings.StreamTransactions(context.Background(), itemsOf(keys)) {
				if last = err; err == nil {
					answered++
				}
			}
			var found *defter.Error
			if !errors.As(last, &found) || answered != 3 || !found.OutcomeUnknown || found.Key != "key-3" {
				t.Fatalf("%v after %d: %+v", last, answered, found)
			}
			// The source is read ahead, in another goroutine, perhaps not to its end yet.
			for i, key := range found.Keys {
				if key != keys[3+i] && (3+i < 8 || len(key) != 26) {
					t.Errorf("key %d is %q", 3+i, key)
				}
			}
		})
	}
}

// TestStreamWithoutAWaitingItemLeavesNothingOpen where its context ends it.
func TestStreamWithoutAWaitingItemLeavesNothingOpen(t *testing.T) {
	_, client := postsTo(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	items := func(yield func(*ledgerv1.PostTransactionItem) bool) {
		itemsOf(keysOf(1))(yield)
		<-ctx.Done()
	}
	var last error
	for _, err := range client.Postings.StreamTransactions(ctx, items) {
		last = err
		cancel()
	}
	var found *defter.Error
	if !errors.As(last, &found) || !errors.Is(last, context.Canceled) || found.OutcomeUnknown || len(found.Keys) > 0 {
		t.Errorf("%v: %+v", last, found)
	}
}

// TestCallerMayUseAMessageAgain for the next item: each is sent as it was when it was read.
func TestCallerMayUseAMessageAgain(t *testing.T) {
	server, client := postsTo(t, status.Error(codes.Unavailable, "away"), 7, 150)
	item := &ledgerv1.PostTransactionItem{}
	items := func(yield func(*ledgerv1.PostTransactionItem) bool) {
		for _, key := range keysOf(500) {
			item.IdempotencyKey, item.Transaction = key, cent().GetTransaction()
			if !yield(item) {
				return
			}
		}
	}
	var found []string
	for result, err := range client.Postings.StreamTransactions(context.Background(), items) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, result.GetIdempotencyKey())
	}
	if !slices.Equal(found, keysOf(500)) || !slices.Equal(server.decided(), keysOf(500)) {
		t.Errorf("%d results", len(found))
	}
}

// TestItemThatCannotBeWrittenEndsTheSource behind the results of what came before it.
func TestItemThatCannotBeWrittenEndsTheSource(t *testing.T) {
	for name, bad := range map[string]*ledgerv1.PostTransactionItem{
		"nil":          nil,
		"key":          {IdempotencyKey: "\xff"},
		"a text in it": {IdempotencyKey: "bad", Transaction: &ledgerv1.NewTransaction{Reference: "\xff"}},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := postsTo(t, nil)
			items := func(yield func(*ledgerv1.PostTransactionItem) bool) {
				itemsOf(keysOf(3))(yield)
				if yield(bad) {
					t.Error("the source goes on")
				}
			}
			var last error
			count := 0
			for _, err := range client.Postings.StreamTransactions(context.Background(), items) {
				if last = err; err == nil {
					count++
				}
			}
			var found *defter.Error
			if !errors.As(last, &found) || !errors.Is(last, defter.KindRequest) || found.OutcomeUnknown || count != 3 {
				t.Fatalf("%v after %d", last, count)
			}
			if found.Key != bad.GetIdempotencyKey() || !slices.Equal(server.decided(), keysOf(3)) {
				t.Errorf("key %q, decided %q", found.Key, server.decided())
			}
		})
	}
}

// TestPanicOfTheSourceIsTheCallers behind the results of what came before it, and ends no process.
func TestPanicOfTheSourceIsTheCallers(t *testing.T) {
	_, client := postsTo(t, nil)
	items := func(yield func(*ledgerv1.PostTransactionItem) bool) {
		itemsOf(keysOf(3))(yield)
		panic("the file ends")
	}
	count := 0
	defer func() {
		if thrown := recover(); thrown != "the file ends" || count != 3 {
			t.Errorf("%v after %d", thrown, count)
		}
	}()
	for range client.Postings.StreamTransactions(context.Background(), items) {
		count++
	}
}

// TestSilentServerIsGivenUp where an item waits and no result comes for as long as a call may take.
func TestSilentServerIsGivenUp(t *testing.T) {
	server := &ledger{}
	server.streams = func(stream posting) error {
		<-stream.Context().Done()
		return nil
	}
	client := opened(t, server.serves(t, nil), defter.WithTimeout(300*time.Millisecond))
	var last error
	for _, err := range client.Postings.StreamTransactions(context.Background(), itemsOf(keysOf(2))) {
		last = err
	}
	var found *defter.Error
	if !errors.As(last, &found) || found.Code != codes.DeadlineExceeded || !found.OutcomeUnknown ||
		!slices.Equal(found.Keys, keysOf(2)) {
		t.Errorf("%v: %+v", last, found)
	}
}

// TestSilenceIsTheServersAlone and neither that of the source nor the time of a reader, on either side of a break.
func TestSilenceIsTheServersAlone(t *testing.T) {
	most := 500 * time.Millisecond
	server, _ := postsTo(t, status.Error(codes.Unavailable, "away"), 1)
	client := opened(t, server.serves(t, nil), defter.WithTimeout(most))
	results := make(chan struct{}, 4)
	items := func(yield func(*ledgerv1.PostTransactionItem) bool) {
		for _, key := range keysOf(4) {
			if !yield(&ledgerv1.PostTransactionItem{IdempotencyKey: key}) {
				return
			}
			<-results
			time.Sleep(2 * most)
		}
	}
	count := 0
	for _, err := range client.Postings.StreamTransactions(context.Background(), items) {
		if err != nil {
			t.Fatal(err)
		}
		count++
		time.Sleep(2 * most)
		results <- struct{}{}
	}
	if count != 4 {
		t.Error(count)
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
