package defter_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/quick"

	"defter.example/defter/clients/go/defter"
)

// TestAmountIsReadExactly and written with all places.
func TestAmountIsReadExactly(t *testing.T) {
	for _, each := range []struct {
		text, currency string
		minor          int64
		written        string
	}{
		{"12.34", "EUR", 1234, "12.34 EUR"},
		{"-0.5", "EUR", -50, "-0.50 EUR"},
		{"7", "JPY", 7, "7 JPY"},
		{"0.001", "KWD", 1, "0.001 KWD"},
		{"1.2000", "EUR", 120, "1.20 EUR"},
		{"007.00", "JPY", 7, "7 JPY"},
		{"-0", "EUR", 0, "0.00 EUR"},
		{"0.00000001", "BTC", 1, "0.00000001 BTC"},
		{"92233720368547758.07", "EUR", math.MaxInt64, "92233720368547758.07 EUR"},
		{"-92233720368547758.07", "EUR", -math.MaxInt64, "-92233720368547758.07 EUR"},
	} {
		found, err := defter.ParseMoney(each.text, each.currency)
		if err != nil || found.Minor != each.minor || found.String() != each.written {
			t.Errorf("%s became %d, %s: %v", each.text, found.Minor, found, err)
		}
	}
}

// TestAmountThatIsNotExactIsRefused and nothing is rounded or guessed.
func TestAmountThatIsNotExactIsRefused(t *testing.T) {
	for _, each := range []struct{ text, currency string }{
		{"12.345", "EUR"}, {"0.1", "JPY"}, {"92233720368547758.08", "EUR"}, {"-92233720368547758.08", "EUR"}, {"1", "XYZ"}, {"1", "eur"}, {"1", ""},
		{"", "EUR"}, {".", "EUR"}, {"1.", "EUR"}, {".5", "EUR"}, {"+1", "EUR"}, {"--1", "EUR"}, {"-", "EUR"},
		{" 1", "EUR"}, {"1 ", "EUR"}, {"1,5", "EUR"}, {"1_000", "EUR"}, {"1e2", "EUR"}, {"0x1", "EUR"},
		{"NaN", "EUR"}, {"Inf", "EUR"}, {"١", "EUR"}, {"1.2.3", "EUR"}, {"1.-2", "EUR"},
	} {
		found, err := defter.ParseMoney(each.text, each.currency)
		var refused *defter.AmountError
		if !errors.As(err, &refused) || found != (defter.Money{}) {
			t.Errorf("%q became %v: %v", each.text, found, err)
		}
	}
}

// TestEveryAmountIsReadAsItWasWritten in any number of decimal places.
func TestEveryAmountIsReadAsItWasWritten(t *testing.T) {
	same := func(minor int64, places uint8) bool {
		currencies := defter.Currencies{"X": int(places % 19)}
		minor = max(minor, -math.MaxInt64)
		text, err := currencies.Format(defter.Money{Minor: minor, Currency: "X"})
		if err != nil {
			return false
		}
		found, err := currencies.Parse(text, "X")
		return err == nil && found.Minor == minor
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

// TestCurrenciesAreThoseOfTheServer whose decimal places are binding.
func TestCurrenciesAreThoseOfTheServer(t *testing.T) {
	client := opened(t, (&ledger{}).serves(t, nil))
	currencies, err := client.Currencies(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	found, err := currencies.Parse("0.000000000000000001", "ETH")
	if err != nil || found.Minor != 1 {
		t.Errorf("%v, %v", found, err)
	}
}
