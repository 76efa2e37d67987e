package defter

import (
	"reflect"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
)

// reasonOf is what error.proto says about a reason.
type reasonOf struct {
	number int32
	code   codes.Code
	kind   Kind
	// facts makes the empty facts of an error; nil for a reason without.
	facts func() error
}

// factsOf returns the typed facts of a reason, or nil for a reason that has none, or is not known.
func factsOf(reason Reason, metadata map[string]string) error {
	known := reasons[reason]
	if known.facts == nil {
		return nil
	}
	found := known.facts()
	read(reflect.ValueOf(found).Elem(), metadata)
	return found
}

// read fills the fields by the facts that their tags name. What is not there or can't be read stays empty.
func read(found reflect.Value, metadata map[string]string) {
	for i := range found.NumField() {
		text, ok := metadata[found.Type().Field(i).Tag.Get("fact")]
		if !ok {
			continue
		}
		switch field := found.Field(i).Addr().Interface().(type) {
		case *string:
			*field = text
		case **int64:
			*field = integer(text)
		case **time.Time:
			*field = instant(text)
		}
	}
}

func integer(text string) *int64 {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil
	}
	return &number
}

func instant(text string) *time.Time {
	found, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil
	}
	return &found
}
