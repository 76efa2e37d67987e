package defter

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/quick"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// TestKeyIsAULID by the example of its specification.
func TestKeyIsAULID(t *testing.T) {
	if key := keyAt(time.UnixMilli(1469918176385)); len(key) != keyLength || key[:10] != "01ARYZ6S41" {
		t.Error(key)
	}
	if highest := encoded([16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}); highest != "7ZZZZZZZZZZZZZZZZZZZZZZZZZ" {
		t.Error(highest)
	}
	if one, two := NewKey(), NewKey(); one == two {
		t.Error("two keys are the same")
	}
}

// TestPauseIsNeitherEarlyNorLate whatever the server asks for.
func TestPauseIsNeitherEarlyNorLate(t *testing.T) {
	bounded := func(failures uint8, asked, left uint16, draws uint32) bool {
		askedFor, room := time.Duration(asked)*time.Millisecond, time.Duration(left)*time.Millisecond
		wait, another := pause(int(failures)+1, askedFor, room, func(most int64) int64 { return int64(draws) % most })
		if !another {
			return room-askedFor < leastTry
		}
		return wait >= askedFor && wait < room && wait <= askedFor+longestWindow
	}
	if err := quick.Check(bounded, &quick.Config{MaxCount: 10_000}); err != nil {
		t.Error(err)
	}
}

// TestWindowDoubles from 50 ms to 2 s.
func TestWindowDoubles(t *testing.T) {
	var windows []time.Duration
	for failures := 1; failures < 9; failures++ {
		_, _ = pause(failures, 0, time.Hour, func(most int64) int64 {
			windows = append(windows, time.Duration(most)/time.Millisecond)
			return 0
		})
	}
	if !reflect.DeepEqual(windows, []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000}) {
		t.Error(windows)
	}
}

// TestEveryReasonIsFoundInItsError with its kind and all its facts, in a status and in a rejection.
func TestEveryReasonIsFoundInItsError(t *testing.T) {
	for reason, known := range reasons {
		facts := everyFact(known)
		told, err := status.New(known.code, "no").WithDetails(
			&errdetails.ErrorInfo{Reason: string(reason), Domain: domain, Metadata: facts}, &errdetails.RequestInfo{RequestId: "r"},
		)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range []error{
			failed(told.Err(), metadata.Pairs(replayedKey, "true"), "k"),
			RejectionError(&ledgerv1.Rejection{
				Reason: ledgerv1.ErrorReason(known.number), Message: "no", Metadata: facts,
			}, "k", true),
		} {
			var whole *Error
			if !errors.As(found, &whole) || !errors.Is(found, reason) || !errors.Is(found, known.kind) ||
				whole.Code != known.code || status.Code(found) != known.code || !whole.Replayed || whole.Key != "k" {
				t.Errorf("%s: %#v", reason, whole)
			}
			if known.facts != nil && hasEmpty(whole.facts) {
				t.Errorf("%s: %#v", reason, whole.facts)
			}
		}
	}
	if len(reasons) != len(ledgerv1.ErrorReason_name)-1 {
		t.Errorf("%d reasons of %d", len(reasons), len(ledgerv1.ErrorReason_name)-1)
	}
}

// TestReasonsOfOthersAreNoneOfTheLedgers since something between may have reasons of the same names.
func TestReasonsOfOthersAreNoneOfTheLedgers(t *testing.T) {
	told, err := status.New(codes.Unavailable, "no").WithDetails(
		&errdetails.ErrorInfo{Reason: string(ErrInsufficientFunds), Domain: "proxy.example"},
	)
	if err != nil {
		t.Fatal(err)
	}
	if found := failed(told.Err(), nil, "k"); found.Reason != "" || !found.leavesOpen() {
		t.Errorf("%#v", found)
	}
}

// everyFact returns a value that can be read for each fact of a reason.
func everyFact(known reasonOf) map[string]string {
	facts := map[string]string{}
	if known.facts == nil {
		return facts
	}
	kind := reflect.TypeOf(known.facts()).Elem()
	for i := range kind.NumField() {
		value := "17"
		if kind.Field(i).Type == reflect.TypeFor[*time.Time]() {
			value = "2026-11-29T01:02:03.456789+00:00"
		}
		facts[kind.Field(i).Tag.Get("fact")] = value
	}
	return facts
}

func hasEmpty(facts error) bool {
	value := reflect.ValueOf(facts).Elem()
	for i := range value.NumField() {
		if value.Field(i).IsZero() {
			return true
		}
	}
	return false
}

// TestFactThatCannotBeReadIsEmpty and the others stay.
func TestFactThatCannotBeReadIsEmpty(t *testing.T) {
	found, _ := factsOf(ErrHoldExpired, map[string]string{"hold_id": "h", "expire_time": "soon"}).(*HoldExpiredError)
	if found.HoldID != "h" || found.ExpireTime != nil {
		t.Errorf("%#v", found)
	}
	funds, _ := factsOf(ErrInsufficientFunds, map[string]string{
		"change_minor": "9223372036854775808", "min_available_minor": "", "available_balance_minor": "-1",
	}).(*InsufficientFundsError)
	if funds.ChangeMinor != nil || funds.MinAvailableMinor != nil || *funds.AvailableBalanceMinor != -1 {
		t.Errorf("%#v", funds)
	}
}

// TestReasonOfANewerServerHasAKind by its code, and so has an error that is not the ledger's.
func TestReasonOfANewerServerHasAKind(t *testing.T) {
	for code, kinds := range map[codes.Code][2]Kind{
		codes.Unavailable:        {KindRetry, KindRetry},
		codes.ResourceExhausted:  {KindRetry, KindFault},
		codes.InvalidArgument:    {KindRequest, KindRequest},
		codes.Unauthenticated:    {KindAccess, KindAccess},
		codes.PermissionDenied:   {KindAccess, KindAccess},
		codes.Internal:           {KindFault, KindFault},
		codes.FailedPrecondition: {KindRefused, KindFault},
		codes.NotFound:           {KindRefused, KindFault},
		codes.Unimplemented:      {KindRefused, KindFault},
	} {
		if known, unknown := kindOf("NEWER", code), kindOf("", code); known != kinds[0] || unknown != kinds[1] {
			t.Errorf("%s: %s and %s", code, known, unknown)
		}
	}
	newer := RejectionError(&ledgerv1.Rejection{Reason: 9999}, "", false)
	if !errors.Is(newer, Reason("9999")) || !errors.Is(newer, KindRefused) {
		t.Error(newer)
	}
	if RejectionError(nil, "", false) != nil {
		t.Error("nothing was refused")
	}
}

// TestSlowReaderOfAStreamMayComeAgain though much time has passed since the last result.
func TestSlowReaderOfAStreamMayComeAgain(t *testing.T) {
	posting := &transactions{made: &call{client: &Client{timeout: time.Minute}}}
	posting.tries.deadline = time.Now().Add(-time.Hour)
	if !posting.goesOn(context.Background(), &Error{Code: codes.Unavailable}) {
		t.Error("the time before the break counts")
	}
	posting.tries.deadline = time.Now().Add(-time.Hour)
	if posting.goesOn(context.Background(), &Error{Code: codes.Unavailable}) {
		t.Error("the time since the break does not count")
	}
}

// TestIndexOfAnItemIsTold where an item of a batch is to blame.
func TestIndexOfAnItemIsTold(t *testing.T) {
	found := &Error{Reason: ErrAccountNotFound, Metadata: map[string]string{"index": "0"}}
	found.classify()
	if found.Index == nil || *found.Index != 0 {
		t.Error("the index is not told")
	}
}
