package segment

import "fmt"

// Reason says what is wrong in a file.
type Reason string

// The closed list of reasons.
const (
	Truncated   Reason = "truncated"    // the file ends inside a record, or before its known size
	BadBatch    Reason = "bad-batch"    // a batch's own checks fail; the cause is a *batch.Error
	BadRecords  Reason = "bad-records"  // records inside a batch with a right CRC do not decode or do not fit its header
	IOError     Reason = "io-error"     // the bytes cannot be read
	BadOffset   Reason = "bad-offset"   // an offset out of order or outside the segment
	BadIndex    Reason = "bad-index"    // an index entry that the batches do not confirm
	BadChecksum Reason = "bad-checksum" // CRC of a small file or of a sum entry differs
	BadSum      Reason = "bad-sum"      // bytes differ from chronik.sums
	NoSum       Reason = "no-sum"       // bytes that chronik.sums does not cover
	BadSyntax   Reason = "bad-syntax"   // a small file that does not parse
	BadVersion  Reason = "bad-version"  // unknown format version
	MissingFile Reason = "missing-file" // a file of the set is not there
)

// Error says what is wrong where.
type Error struct {
	File   string // path, empty if the decoder was given bytes
	Offset int64  // byte in the file
	Reason Reason
	Detail string
	Err    error // cause, or nil
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s at byte %d", e.Reason, e.Offset)
	if e.File != "" {
		text = fmt.Sprintf("%s: %s at byte %d", e.File, e.Reason, e.Offset)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }
