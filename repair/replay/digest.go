package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"chronik.dev/chronik/broker/batch"
)

// digest is SHA-256 over batches as they are stored, offsets and leader epochs included, in the order of offsets.
type digest struct {
	sum     hash.Hash
	start   int64 // batches that end below it do not count
	end     int64 // batches from it on do not count
	next    int64 // after the last batch that counted; start if none did
	batches int64
	records int64
	bytes   int64
}

func newDigest(start, end int64) *digest {
	return &digest{sum: sha256.New(), start: start, end: end, next: start}
}

// add counts a batch in, if it is in the range.
func (d *digest) add(h *batch.Header, raw []byte) error {
	if h.LastOffset() < d.start || h.BaseOffset >= d.end || d.end <= d.start {
		return nil
	}
	d.sum.Write(raw) // never fails, see hash.Hash
	d.next = h.LastOffset() + 1
	d.batches++
	d.records += int64(h.Count)
	d.bytes += int64(len(raw))
	return nil
}

func (d *digest) hex() string { return hex.EncodeToString(d.sum.Sum(nil)) }
