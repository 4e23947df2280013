package coordinator

import (
	"errors"
	"fmt"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/group"
)

// recordLimit bounds what one batch of __consumer_offsets may decompress to; ours are not compressed.
const recordLimit = 64 << 20

// load reads the partition and makes the shard active, or records why it cannot be. It runs on a goroutine of its own, so that requests
// are answered COORDINATOR_LOAD_IN_PROGRESS meanwhile.
func (s *shard) load() {
	defer close(s.loading)
	l := loader{s: s, groups: map[string]*entry{}}
	err := l.read()
	now := s.c.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != group.LoadInProgress {
		return // stopped meanwhile
	}
	if err != nil {
		s.state, s.failure = group.NotCoordinator, fmt.Errorf("__consumer_offsets-%d: groups cannot be loaded: %w", s.partition, err)
		s.c.o.Logger.Error("groups cannot be loaded; their coordinator is not available", "partition", s.partition, "error", err)
		return
	}
	s.state = group.None
	s.push(func() {
		s.groups = l.groups
		s.expiry = now + s.c.o.Config().OffsetsRetentionCheckIntervalMs()
		for name, e := range s.groups {
			if e.Removable() && e.Generation() == 0 {
				delete(s.groups, name)
				continue
			}
			e.ResumeSessions(now)
			s.schedule(e)
		}
		s.arm()
	})
	if l.records > 0 {
		s.c.o.Logger.Info("groups loaded", "partition", s.partition, "groups", len(l.groups), "records", l.records, "skipped", l.skipped)
	}
}

// loader builds groups from records. Its memory is one read buffer and the groups as they are at that point of the log.
type loader struct {
	s                *shard
	groups           map[string]*entry
	records, skipped int
}

func (l *loader) read() error {
	store, partition := l.s.c.o.Store, l.s.partition
	next, end, err := store.Bounds(partition)
	if err != nil {
		return err
	}
	size := l.s.c.o.Config().OffsetsLoadBufferSize()
	for next < end {
		select {
		case <-l.s.halt:
			return errors.New("stopped")
		default:
		}
		data, err := store.Read(partition, next, size)
		if err != nil {
			return err
		}
		before := next
		err = batch.Each(data, func(h batch.Header, raw []byte) error {
			if h.LastOffset() < next {
				return nil
			}
			next = h.LastOffset() + 1
			if h.IsControl() {
				return nil
			}
			if _, err := batch.CheckStored(raw); err != nil {
				return fmt.Errorf("batch at offset %d: %w", h.BaseOffset, err)
			}
			return batch.Records(raw, recordLimit, l.apply)
		})
		if err != nil {
			return err
		}
		if next == before {
			return fmt.Errorf("no batch at offset %d although the log ends at %d", next, end)
		}
	}
	return nil
}

// apply brings the groups up to one record; a later record of the same key wins. A record that cannot be read is left alone and skipped.
func (l *loader) apply(r batch.Record) error {
	l.records++
	key, err := group.ParseKey(r.Key)
	if err == nil {
		err = l.applyKey(key, r.Value)
	}
	if err != nil {
		l.skipped++
		if !errors.Is(err, group.ErrUnknownKey) {
			l.s.c.o.Logger.Warn("a record of __consumer_offsets was skipped", "partition", l.s.partition, "offset", r.Offset, "error", err)
		}
	}
	return nil
}

func (l *loader) applyKey(key group.Key, value []byte) error {
	now := l.s.c.now()
	e := l.groups[key.Group]
	if e == nil {
		if value == nil {
			return nil
		}
		e = &entry{Group: group.New(key.Group, now, group.Settings{})}
	}
	switch {
	case key.Kind == group.OffsetKey && value == nil:
		e.Forget(key.Partition)
	case key.Kind == group.OffsetKey:
		o, err := group.ParseOffset(value)
		if err != nil {
			return err
		}
		e.SetOffset(key.Partition, o)
	case value == nil:
		e.SetMetadata(now, group.Metadata{StateSince: now})
	default:
		m, err := group.ParseMetadata(value)
		if err != nil {
			return err
		}
		e.SetMetadata(now, m)
	}
	l.groups[key.Group] = e
	if e.Removable() && e.Generation() == 0 {
		delete(l.groups, key.Group)
	}
	return nil
}
