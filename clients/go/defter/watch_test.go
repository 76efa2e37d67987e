package defter_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"defter.example/defter/clients/go/defter"
	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// chain is a journal of so many records.
func chain(t *testing.T, count int64) []*ledgerv1.JournalEntry {
	t.Helper()
	before := make([]byte, sha256.Size)
	var entries []*ledgerv1.JournalEntry
	for sequence := range count {
		record, err := proto.Marshal(&ledgerv1.JournalRecord{Sequence: sequence + 1, TenantId: "demo"})
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256(append(slices.Clone(before), record...))
		before = hash[:]
		entries = append(entries, &ledgerv1.JournalEntry{Sequence: sequence + 1, RecordBytes: record, ChainHash: before})
	}
	return entries
}

// journal is a server whose connections each do what a test says, with the records behind those that were seen.
type journal struct {
	ledger
	entries     []*ledgerv1.JournalEntry
	connections []func(watcher, []*ledgerv1.JournalEntry) error
	asked       []*ledgerv1.WatchJournalRequest
}

func watchable(t *testing.T, connections ...func(watcher, []*ledgerv1.JournalEntry) error) *journal {
	t.Helper()
	made := &journal{entries: chain(t, 6), connections: connections}
	made.watches = func(request *ledgerv1.WatchJournalRequest, stream watcher) error {
		made.asked = append(made.asked, request)
		does := made.connections[min(len(made.asked), len(made.connections))-1]
		return does(stream, made.entries[request.GetAfterSequence():])
	}
	return made
}

// sends sends so many records, and then ends the stream in a way.
func sends(count int, ends error) func(watcher, []*ledgerv1.JournalEntry) error {
	return func(stream watcher, entries []*ledgerv1.JournalEntry) error {
		_ = stream.Send(&ledgerv1.WatchJournalResponse{})
		_ = stream.Send(&ledgerv1.WatchJournalResponse{Entries: entries[:min(count, len(entries))]})
		return ends
	}
}

// silent sends a record, and then nothing.
func silent(stream watcher, entries []*ledgerv1.JournalEntry) error {
	_ = stream.Send(&ledgerv1.WatchJournalResponse{Entries: entries[:1]})
	<-stream.Context().Done()
	return nil
}

// follows returns the sequences that a watch yields, until it has so many or ends.
func follows(
	client *defter.Client, after defter.Checkpoint, count int, options ...defter.WatchOption,
) (found []int64, ended error) {
	for entry, err := range client.Journal.WatchJournal(context.Background(), after, options...) {
		if err != nil {
			return found, err
		}
		if found = append(found, entry.GetSequence()); len(found) == count {
			break
		}
	}
	return found, nil
}

// TestWatchGoesOnAfterBreaks yields each record once, whatever breaks the connections.
func TestWatchGoesOnAfterBreaks(t *testing.T) {
	whole := sends(6, nil)
	for name, breaks := range map[string][]func(watcher, []*ledgerv1.JournalEntry) error{
		"away":       {sends(2, status.Error(codes.Unavailable, "away")), sends(0, status.Error(codes.Unavailable, "")), whole},
		"ended":      {sends(1, nil), sends(1, nil), whole},
		"too slow":   {sends(3, refuses(codes.Aborted, "READER_TOO_SLOW", nil)), whole},
		"full":       {sends(3, refuses(codes.ResourceExhausted, "LANE_FULL", nil, comesAgain())), whole},
		"internal":   {sends(1, status.Error(codes.Internal, "stream reset")), whole},
		"cut by age": {sends(5, status.Error(codes.Unavailable, "max_age")), whole},
		"silent":     {silent, whole},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := watchable(t, breaks...)
			client := opened(t, server.serves(t, nil), defter.WithTenant("demo"))
			told := 0
			found, err := follows(
				client, defter.Checkpoint{}, 6, defter.WithChainVerified(), defter.WithHeartbeat(time.Second),
				defter.WithOnBreak(func(error) { told++ }),
			)
			if err != nil || !slices.Equal(found, []int64{1, 2, 3, 4, 5, 6}) {
				t.Errorf("%v, %v", found, err)
			}
			if told != len(breaks)-1 || server.asked[0].GetTenantId() != "demo" {
				t.Errorf("told of %d breaks", told)
			}
		})
	}
}

// TestAnswerEndsAWatch yields it as the last.
func TestAnswerEndsAWatch(t *testing.T) {
	for reason, code := range map[defter.Reason]codes.Code{
		defter.ErrNotYetRecorded:    codes.OutOfRange,
		defter.ErrTenantNotFound:    codes.NotFound,
		defter.ErrPermissionMissing: codes.PermissionDenied,
		defter.ErrTokenExpired:      codes.Unauthenticated,
		defter.ErrFieldOutOfRange:   codes.InvalidArgument,
	} {
		server := watchable(t, sends(2, refuses(code, string(reason), nil)))
		found, err := follows(opened(t, server.serves(t, nil)), defter.Checkpoint{}, 6)
		if !errors.Is(err, reason) || len(found) != 2 || len(server.asked) != 1 {
			t.Errorf("%s: %v after %v", reason, err, found)
		}
	}
}

// TestRecordThatDoesNotFollowEndsAWatch skips nothing and repeats nothing.
func TestRecordThatDoesNotFollowEndsAWatch(t *testing.T) {
	for name, number := range map[string]int{"gap": 4, "repeat": 1, "back": 0} {
		server := watchable(t, func(stream watcher, entries []*ledgerv1.JournalEntry) error {
			sent := []*ledgerv1.JournalEntry{entries[0], entries[1], entries[number]}
			_ = stream.Send(&ledgerv1.WatchJournalResponse{Entries: sent})
			<-stream.Context().Done()
			return nil
		})
		found, err := follows(opened(t, server.serves(t, nil)), defter.Checkpoint{}, 6)
		var gap *defter.GapError
		if !errors.As(err, &gap) || gap.Expected != 3 || gap.Found != int64(number)+1 || len(found) != 2 {
			t.Errorf("%s: %v after %v", name, err, found)
		}
	}
}

// TestAlteredRecordIsFound ends the watch at the first record that is not what was written.
func TestAlteredRecordIsFound(t *testing.T) {
	another, _ := proto.Marshal(&ledgerv1.JournalRecord{Sequence: 3, TenantId: "other"})
	for name, alters := range map[string]func(*ledgerv1.JournalEntry){
		"bytes":         func(entry *ledgerv1.JournalEntry) { entry.RecordBytes = another },
		"hash":          func(entry *ledgerv1.JournalEntry) { entry.ChainHash = make([]byte, sha256.Size) },
		"no hash":       func(entry *ledgerv1.JournalEntry) { entry.ChainHash = nil },
		"no bytes":      func(entry *ledgerv1.JournalEntry) { entry.RecordBytes = nil },
		"another chain": func(entry *ledgerv1.JournalEntry) { rehash(entry, another) },
	} {
		server := watchable(t, sends(6, nil))
		alters(server.entries[2])
		found, err := follows(
			opened(t, server.serves(t, nil)), defter.Checkpoint{}, 6, defter.WithChainVerified(),
		)
		var broken *defter.ChainError
		if !errors.As(err, &broken) || broken.Sequence != 3 || len(found) != 2 {
			t.Errorf("%s: %v after %v", name, err, found)
		}
	}
}

// TestAlteredFirstRecordIsFound since nothing but zeros is before it.
func TestAlteredFirstRecordIsFound(t *testing.T) {
	server := watchable(t, sends(6, nil))
	server.entries[0].ChainHash = make([]byte, sha256.Size)
	found, err := follows(opened(t, server.serves(t, nil)), defter.Checkpoint{}, 6, defter.WithChainVerified())
	var broken *defter.ChainError
	if !errors.As(err, &broken) || broken.Sequence != 1 || len(found) != 0 {
		t.Errorf("%v after %v", err, found)
	}
}

// rehash writes other bytes with a hash that follows from nothing that was seen.
func rehash(entry *ledgerv1.JournalEntry, record []byte) {
	hash := sha256.Sum256(append(make([]byte, sha256.Size), record...))
	entry.RecordBytes, entry.ChainHash = record, hash[:]
}

// TestRecordIsReadFromTheBytesThatWereHashed does not believe what is told beside them.
func TestRecordIsReadFromTheBytesThatWereHashed(t *testing.T) {
	server := watchable(t, sends(6, nil))
	server.entries[0].Record = &ledgerv1.JournalRecord{TenantId: "forged"}
	client := opened(t, server.serves(t, nil))
	for entry, err := range client.Journal.WatchJournal(
		context.Background(), defter.Checkpoint{}, defter.WithChainVerified(),
	) {
		if err != nil || entry.GetRecord().GetTenantId() != "demo" || !server.asked[0].GetBytesOnly() {
			t.Errorf("%v, %v", err, entry.GetRecord())
		}
		break
	}
}

// TestWatchBeginsBehindACheckpoint checks the first record against the one that was seen before.
func TestWatchBeginsBehindACheckpoint(t *testing.T) {
	entries := chain(t, 6)
	forged := defter.Checkpoint{Sequence: 3, ChainHash: make([]byte, sha256.Size)}
	for name, each := range map[string]struct {
		after defter.Checkpoint
		found []int64
	}{
		"known":    {defter.CheckpointOf(entries[2]), []int64{4, 5, 6}},
		"sequence": {defter.Checkpoint{Sequence: 3}, []int64{4, 5, 6}},
		"forged":   {forged, nil},
	} {
		client := opened(t, watchable(t, sends(6, nil)).serves(t, nil))
		found, err := follows(client, each.after, 3, defter.WithChainVerified())
		if !slices.Equal(found, each.found) || (err == nil) != (each.found != nil) {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
}

// TestEndedContextEndsAWatch yields its error, and so does a client that was closed.
func TestEndedContextEndsAWatch(t *testing.T) {
	for name, ends := range map[string]func(context.CancelFunc, *defter.Client){
		"context": func(cancel context.CancelFunc, _ *defter.Client) { cancel() },
		"client":  func(_ context.CancelFunc, client *defter.Client) { _ = client.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			client := opened(t, watchable(t, silent).serves(t, nil))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var last error
			for _, err := range client.Journal.WatchJournal(ctx, defter.Checkpoint{}) {
				if last = err; err == nil {
					ends(cancel, client)
				}
			}
			if !errors.Is(last, context.Canceled) {
				t.Error(last)
			}
		})
	}
}

// TestCheckpointIsReadAsItWasWritten and nothing else is one.
func TestCheckpointIsReadAsItWasWritten(t *testing.T) {
	for _, each := range []defter.Checkpoint{{}, {Sequence: 28}, defter.CheckpointOf(chain(t, 3)[2])} {
		found, err := defter.ParseCheckpoint(each.String())
		if err != nil || found.String() != each.String() {
			t.Errorf("%s became %s: %v", each, found, err)
		}
	}
	for _, text := range []string{"", ":", "28", "-1:", "x:", "28:3f", "28:" + "zz", " 28:", "99999999999999999999:"} {
		if found, err := defter.ParseCheckpoint(text); err == nil {
			t.Errorf("%q became %s", text, found)
		}
	}
}
