package defter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// Checkpoint is a place in the journal: the last record that was seen. The zero value is before the first record.
type Checkpoint struct {
	// Sequence is that of the record.
	Sequence int64
	// ChainHash is its chain hash; nil where it is not known: then the next record is taken as it comes.
	ChainHash []byte
}

// CheckpointOf returns the place behind a record.
func CheckpointOf(entry *ledgerv1.JournalEntry) Checkpoint {
	return Checkpoint{entry.GetSequence(), entry.GetChainHash()}
}

// ParseCheckpoint reads what [Checkpoint.String] has written.
func ParseCheckpoint(text string) (Checkpoint, error) {
	number, hash, ok := strings.Cut(text, ":")
	sequence, err := strconv.ParseInt(number, 10, 64)
	chainHash, hashErr := hex.DecodeString(hash)
	isWhole := len(chainHash) == sha256.Size || len(chainHash) == 0
	if !ok || err != nil || hashErr != nil || sequence < 0 || !isWhole {
		return Checkpoint{}, fmt.Errorf("%q is no checkpoint", text)
	}
	if len(chainHash) == 0 {
		chainHash = nil
	}
	return Checkpoint{sequence, chainHash}, nil
}

// String returns sequence and chain hash in one text, to be stored with what was made of the record.
func (c Checkpoint) String() string {
	return fmt.Sprintf("%d:%s", c.Sequence, hex.EncodeToString(c.ChainHash))
}

// GapError says that a record does not follow the last one.
type GapError struct {
	// Expected is the sequence that would have followed.
	Expected int64
	// Found is that of the record that came.
	Found int64
}

// Error says both sequences.
func (e *GapError) Error() string {
	return fmt.Sprintf("record %d came where %d follows", e.Found, e.Expected)
}

// ChainError says that a record's chain hash does not follow from the record before it, so one of them was altered.
type ChainError struct {
	// Sequence is that of the record.
	Sequence int64
}

// Error says which record it is.
func (e *ChainError) Error() string {
	return fmt.Sprintf("the chain hash of record %d does not follow from the record before", e.Sequence)
}

// follows says whether a record is the next one.
func (c Checkpoint) follows(entry *ledgerv1.JournalEntry) error {
	if entry.GetSequence() != c.Sequence+1 {
		return &GapError{c.Sequence + 1, entry.GetSequence()}
	}
	return nil
}

// proves says whether a record's bytes continue the chain, and reads the record from those very bytes.
func (c Checkpoint) proves(entry *ledgerv1.JournalEntry) error {
	before := c.ChainHash
	if c.Sequence == 0 {
		before = make([]byte, sha256.Size)
	}
	chained := sha256.Sum256(append(before[:len(before):len(before)], entry.GetRecordBytes()...))
	if before != nil && !bytes.Equal(chained[:], entry.GetChainHash()) {
		return &ChainError{entry.GetSequence()}
	}
	record := &ledgerv1.JournalRecord{}
	if proto.Unmarshal(entry.GetRecordBytes(), record) != nil || record.GetSequence() != entry.GetSequence() {
		return &ChainError{entry.GetSequence()}
	}
	entry.Record = record
	return nil
}
