package defter

import (
	"strconv"
	"strings"

	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

const reasonPrefix = "ERROR_REASON_"

// reasonOfNumber returns the reason of a value of the enum; one that is newer than the client has its number.
func reasonOfNumber(number ledgerv1.ErrorReason) Reason {
	if name, ok := ledgerv1.ErrorReason_name[int32(number)]; ok {
		return Reason(strings.TrimPrefix(name, reasonPrefix))
	}
	return Reason(strconv.Itoa(int(number)))
}
