package defter

import ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"

// Debit is a leg of a transaction that debits an account.
func Debit(account string, money Money) *ledgerv1.NewPosting {
	return leg(account, ledgerv1.Direction_DIRECTION_DEBIT, money)
}

// Credit is a leg of a transaction that credits an account.
func Credit(account string, money Money) *ledgerv1.NewPosting {
	return leg(account, ledgerv1.Direction_DIRECTION_CREDIT, money)
}

func leg(account string, direction ledgerv1.Direction, money Money) *ledgerv1.NewPosting {
	return &ledgerv1.NewPosting{
		AccountId: account, Direction: direction, AmountMinor: money.Minor, CurrencyCode: money.Currency,
	}
}
