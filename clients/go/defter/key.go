package defter

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// Crockford's alphabet has no letters that are read as digits.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

const (
	keyLength   = 26
	ulidBytes   = 16
	paddingBits = 6
)

// NewKey makes an idempotency key: a ULID, of 48 bits of milliseconds and 80 random bits.
//
// It dies with the process. Money that moves for an event needs a key that follows from the event.
func NewKey() string {
	return keyAt(time.Now())
}

func keyAt(now time.Time) string {
	var ulid [ulidBytes]byte
	binary.BigEndian.PutUint64(ulid[:], uint64(now.UnixMilli())<<16)
	// It does not fail: a system without randomness stops the process.
	_, _ = rand.Read(ulid[6:])
	return encoded(ulid)
}

// encoded writes 128 bits as 26 characters of 5 bits each. A ULID is padded in front, and base32 pads at the end: so two
// zero bits go before the number, and the rest of the seventeenth byte makes a character that is cut off.
func encoded(ulid [ulidBytes]byte) string {
	var shifted [ulidBytes + 1]byte
	for i, each := range ulid {
		shifted[i] |= each >> 2
		shifted[i+1] = each << paddingBits
	}
	return crockford.EncodeToString(shifted[:])[:keyLength]
}
