package defter_test

import (
	"context"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"defter.example/defter/clients/go/defter"
	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// list iterates over all items, through the client's own method.
func (s *scenario) list(t *testing.T, each step) {
	method := s.method(t, each.Method)
	items := method.Call([]reflect.Value{
		reflect.ValueOf(context.Background()), reflect.ValueOf(s.request(t, each, method)),
	})[0]
	count := 0
	for item, err := range items.Seq2() {
		if !err.IsNil() {
			t.Fatal(err)
		}
		if count == 0 {
			if missing := s.missing(object(t, item.Interface().(proto.Message)), each.First); missing != "" {
				t.Error(missing)
			}
		}
		count++
	}
	if count != each.Count {
		t.Errorf("%d items, not %d", count, each.Count)
	}
}

// stream sends items through the client's stream, whose connections are cut meanwhile.
func (s *scenario) stream(t *testing.T, each step) {
	done, replayed := 0, 0
	for result, err := range s.client.Postings.StreamTransactions(context.Background(), s.items(t, each)) {
		if err != nil {
			t.Fatal(err)
		}
		if result.GetTransaction() == nil {
			t.Fatalf("refused: %v", result.GetRejection())
		}
		if wanted := keyOf(t, each, done); result.GetIdempotencyKey() != wanted {
			t.Fatalf("the result of %s came instead of that of %s", result.GetIdempotencyKey(), wanted)
		}
		if result.GetReplayed() {
			replayed++
		}
		if done++; slices.Contains(each.BreakAfter, done) {
			breaks(t, "/break")
		}
	}
	if done != each.Count {
		t.Errorf("%d results, not %d", done, each.Count)
	}
	// Items that were sent again after a break may have been there as well.
	if replayed < each.ReplayedCount {
		t.Errorf("%d results were there before, not %d", replayed, each.ReplayedCount)
	}
}

func (s *scenario) items(t *testing.T, each step) iter.Seq[*ledgerv1.PostTransactionItem] {
	item := &ledgerv1.PostTransactionItem{}
	if err := protojson.Unmarshal(each.Item, item); err != nil {
		t.Fatal(err)
	}
	return func(yield func(*ledgerv1.PostTransactionItem) bool) {
		for i := range each.Count {
			copied := proto.Clone(item).(*ledgerv1.PostTransactionItem)
			copied.IdempotencyKey = keyOf(t, each, i)
			if !yield(copied) {
				return
			}
		}
	}
}

func keyOf(t *testing.T, each step, i int) string {
	t.Helper()
	item := &ledgerv1.PostTransactionItem{}
	if err := protojson.Unmarshal(each.Item, item); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(item.GetIdempotencyKey(), "${i}", strconv.Itoa(i))
}

// watch follows the journal, in two watches where the first is left half way.
func (s *scenario) watch(t *testing.T, each step) {
	until, err := strconv.ParseInt(s.text(each.Until), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	half := until
	if each.Resume {
		half = (each.After + until) / 2
	}
	place := s.follow(t, each, defter.Checkpoint{Sequence: each.After}, half)
	stored, err := defter.ParseCheckpoint(place.String())
	if err != nil {
		t.Fatal(err)
	}
	if half < until {
		s.follow(t, each, stored, until)
	}
}

// follow reads from a place until a record, while connections are cut.
func (s *scenario) follow(t *testing.T, each step, from defter.Checkpoint, until int64) defter.Checkpoint {
	t.Helper()
	last, broken := from, 0
	entries := s.client.Journal.WatchJournal(
		context.Background(), from, defter.WithChainVerified(), defter.WithOnBreak(func(error) { broken++ }),
	)
	wanted := 0
	for entry, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		if entry.GetSequence() != last.Sequence+1 || entry.GetRecord().GetSequence() != entry.GetSequence() {
			t.Fatalf("record %d came after %d", entry.GetSequence(), last.Sequence)
		}
		if last = defter.CheckpointOf(entry); last.Sequence == until {
			break
		}
		if slices.Contains(each.BreakAfter, int(last.Sequence-each.After)) {
			breaks(t, "/break")
			wanted++
		}
	}
	if broken < wanted {
		t.Errorf("%d of %d breaks were noticed", broken, wanted)
	}
	return last
}
