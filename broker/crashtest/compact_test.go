package crashtest

import (
	"fmt"
	"hash/crc32"
	"strings"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
)

// keyed is one record of a compacted topic.
type keyed struct {
	key   byte
	value uint32 // CRC-32 of the value, of which no two records have the same
}

// keys is how many different keys a compacted topic has.
const keys = 7

// compacts says whether a topic is compacted: its name tells, so that every boot knows.
func compacts(topic string) bool { return strings.HasPrefix(topic, "c") }

// config is the configuration of a topic's partitions.
func (s *setup) config(topic string) partition.Config {
	cfg := s.partition
	cfg.Compact, cfg.Delete = compacts(topic), !compacts(topic)
	return cfg
}

// keyedOf decodes a batch of a compacted topic.
func keyedOf(raw []byte) (out []keyed, err error) {
	err = batch.Records(raw, 1<<20, func(r batch.Record) error {
		out = append(out, keyed{r.Key[0], crc32.ChecksumIEEE(r.Value)})
		return nil
	})
	return out, err
}

// learn notes what a batch of a compacted topic holds. mu is held.
func (h *history) learn(crc uint32, records []keyed) {
	if h.content == nil {
		h.content, h.replaced = map[uint32][]keyed{}, map[uint32]bool{}
	}
	for _, r := range records {
		if last, ok := h.newest[r.key]; ok {
			h.replaced[last] = true
		}
		h.newest[r.key] = r.value
	}
	h.content[crc] = records
}

// differsCompacted is differs for a compacted topic: every record that is there was put there, and those that are not have been replaced by a later
// one with the same key. After a truncation the later one may be gone.
func (h *history) differsCompacted(s state, got *seen) string {
	if d := s.frameDiffers(got); d != "" || got == nil {
		return d
	}
	want := map[int64]keyed{}
	newest := map[byte]int64{}
	producers := map[int64]record{}
	for _, b := range s.batches {
		for i, r := range h.content[b.crc] {
			want[b.base+int64(i)], newest[r.key] = r, b.base+int64(i)
		}
		if b.pid >= 0 && b.end() > s.start {
			producers[b.pid] = b
		}
	}
	for at, r := range got.records {
		if w, ok := want[at]; !ok || w != r {
			return fmt.Sprintf("record %+v at offset %d, want %+v", r, at, w)
		}
	}
	for at, r := range want {
		if _, there := got.records[at]; !there && at >= s.start && newest[r.key] == at && !(h.truncated && h.replaced[r.value]) {
			return fmt.Sprintf("offset %d is lost, the newest record with key %d", at, r.key)
		}
	}
	for pid, b := range producers {
		if known, ok := got.producers[pid]; (ok && known != b.seq || !ok && b.end() > s.expired) && !h.truncated {
			return fmt.Sprintf("producer %d is at sequence %d (known %v), want %d", pid, known, ok, b.seq)
		}
	}
	return ""
}

// differs says how what was seen differs from a state of this history; empty if it does not.
func (h *history) differs(s state, got *seen) string {
	if compacts(h.id.Topic) {
		return h.differsCompacted(s, got)
	}
	return s.differs(got)
}

// compact runs the cleaner while appends are in flight.
func (w *worker) compact(c *client) error {
	before := c.log.Size()
	err := c.log.Compact(w.node.now())
	if c.log.Size() < before {
		w.cleaned++
	}
	return err
}

// expire makes a partition forget the producers that have been idle, as after producer.id.expiration.ms.
func (w *worker) expire(c *client) error {
	s, err := w.current(c)
	if err != nil {
		return err
	}
	w.model.mu.Lock()
	c.h.settled.expired = max(c.h.settled.expired, s.end)
	w.model.mu.Unlock()
	cfg := c.log.Config()
	limit := cfg.ProducerExpiryMs
	cfg.ProducerExpiryMs = 1
	c.log.SetConfig(cfg)
	before := len(c.log.Producers())
	c.log.Roll(w.node.now())
	w.expired += int64(max(0, before-len(c.log.Producers())))
	cfg = c.log.Config()
	cfg.ProducerExpiryMs = limit
	c.log.SetConfig(cfg)
	return nil
}

// reconfigure changes a topic's configuration under way; a restart forgets it.
func (w *worker) reconfigure(c *client) {
	cfg := c.log.Config()
	switch w.rng.IntN(4) {
	case 0:
		cfg.SegmentBytes = 1024 << w.rng.IntN(6)
	case 1:
		cfg.RetentionBytes = cfg.SegmentBytes * int64(1+w.rng.IntN(20))
	default:
		cfg.IndexIntervalBytes = w.rng.Int32N(4096)
	}
	c.log.SetConfig(cfg)
}
