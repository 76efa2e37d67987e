package defter

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// Money is an amount in minor units of its currency.
type Money struct {
	// Minor is the amount in minor units.
	Minor int64
	// Currency is the code, such as EUR.
	Currency string
}

// Currencies are the decimal places of currencies, by code.
type Currencies map[string]int

// AmountError says why a text is not an amount of a currency.
type AmountError struct {
	// Text is what was given.
	Text string
	// Currency is the code.
	Currency string
	// Problem is what is wrong.
	Problem string
}

// Error returns what was given and what is wrong with it.
func (e *AmountError) Error() string {
	return fmt.Sprintf("%q is no amount of %s: %s", e.Text, e.Currency, e.Problem)
}

// ParseMoney reads a decimal number, such as 12.34 or -0.5, exactly or not at all, with the decimal places that the
// currency has at a server without settings. [Client.Currencies] knows those of a server with settings.
//
// It fails with [*AmountError].
func ParseMoney(text, currency string) (Money, error) { return usualPlaces.Parse(text, currency) }

// Parse is [ParseMoney] with these currencies.
func (c Currencies) Parse(text, currency string) (Money, error) {
	minor, problem := c.minor(text, currency)
	if problem != "" {
		return Money{}, &AmountError{text, currency, problem}
	}
	return Money{minor, currency}, nil
}

// minor returns the minor units, or what is wrong.
func (c Currencies) minor(text, currency string) (int64, string) {
	places, ok := c[currency]
	if !ok {
		return 0, "the currency is not known"
	}
	digits, isNegative := strings.CutPrefix(text, "-")
	whole, fraction, hasPoint := strings.Cut(digits, ".")
	if !isDigits(whole) || hasPoint && !isDigits(fraction) {
		return 0, "it is not a decimal number"
	}
	// Zeros at the end are exact in any number.
	if fraction = strings.TrimRight(fraction, "0"); len(fraction) > places {
		return 0, fmt.Sprintf("it has more than %d decimal places", places)
	}
	all := whole + fraction + strings.Repeat("0", places-len(fraction))
	if isNegative {
		all = "-" + all
	}
	minor, err := strconv.ParseInt(all, 10, 64)
	// The ledger counts as far to both sides.
	if err != nil || minor == math.MinInt64 {
		return 0, "it does not fit into 63 bits"
	}
	return minor, ""
}

// Format writes an amount as a decimal number with all places of its currency, such as 12.30.
//
// It fails with [*AmountError] where the currency is not known.
func (c Currencies) Format(money Money) (string, error) {
	places, ok := c[money.Currency]
	text := strconv.FormatInt(money.Minor, 10)
	if !ok {
		return "", &AmountError{text, money.Currency, "the currency is not known"}
	}
	digits, isNegative := strings.CutPrefix(text, "-")
	if missing := places + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	if point := len(digits) - places; places > 0 {
		digits = digits[:point] + "." + digits[point:]
	}
	if isNegative {
		digits = "-" + digits
	}
	return digits, nil
}

// String returns the decimal number with its currency; minor units where the currency is not known.
func (m Money) String() string {
	text, err := usualPlaces.Format(m)
	if err != nil {
		text = fmt.Sprintf("%d minor units of", m.Minor)
	}
	return text + " " + m.Currency
}

// Currencies returns the currencies of the server, with the decimal places that are binding there.
func (c *Client) Currencies(ctx context.Context, options ...CallOption) (Currencies, error) {
	found, err := c.Tenants.ListCurrencies(ctx, &ledgerv1.ListCurrenciesRequest{}, options...)
	if err != nil {
		return nil, err
	}
	currencies := Currencies{}
	for _, each := range found.GetCurrencies() {
		currencies[each.GetCurrencyCode()] = int(each.GetDecimalPlaces())
	}
	return currencies, nil
}

func isDigits(text string) bool {
	for _, each := range text {
		if each < '0' || each > '9' {
			return false
		}
	}
	return text != ""
}
