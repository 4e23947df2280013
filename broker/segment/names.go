package segment

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is one kind of file in a partition directory. The numbers are those of chronik.sums.
type Kind uint8

// The kinds of files. Those up to TxnIndex are named by a base offset.
const (
	Log         Kind = 1
	Index       Kind = 2
	TimeIndex   Kind = 3
	Snapshot    Kind = 4 // producer snapshot
	TxnIndex    Kind = 5
	EpochFile   Kind = 6
	MetaFile    Kind = 7
	SumsFile    Kind = 8
	kindsEnd         = 9
	baseNameLen      = 20
)

var suffixes = [...]string{
	Log: ".log", Index: ".index", TimeIndex: ".timeindex", Snapshot: ".snapshot", TxnIndex: ".txnindex",
	EpochFile: EpochFileName, MetaFile: MetaFileName, SumsFile: SumsFileName,
}

// Names of the files that are not named by a base offset.
const (
	EpochFileName = "leader-epoch-checkpoint"
	MetaFileName  = "partition.metadata"
	SumsFileName  = "chronik.sums"
)

// Valid says whether the kind exists.
func (k Kind) Valid() bool { return k >= Log && k < kindsEnd }

// PerSegment says whether files of this kind are named by a base offset.
func (k Kind) PerSegment() bool { return k >= Log && k <= TxnIndex }

// Name is the file's name; base is ignored where the name has none.
func (k Kind) Name(base int64) string {
	switch {
	case !k.Valid():
		return fmt.Sprintf("kind-%d", k)
	case k.PerSegment():
		return fmt.Sprintf("%020d%s", base, suffixes[k])
	}
	return suffixes[k]
}

// ParseName tells kind and base offset of a file by its name; ok is false for a name that none of the kinds has.
func ParseName(name string) (k Kind, base int64, ok bool) {
	for k := EpochFile; k < kindsEnd; k++ {
		if name == suffixes[k] {
			return k, 0, true
		}
	}
	digits, _, found := strings.Cut(name, ".")
	if !found || len(digits) != baseNameLen {
		return 0, 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || base < 0 || digits[0] == '+' || digits[0] == '-' {
		return 0, 0, false
	}
	for k := Log; k <= TxnIndex; k++ {
		if name[baseNameLen:] == suffixes[k] {
			return k, base, true
		}
	}
	return 0, 0, false
}
