package partition

import (
	"fmt"
	"sync"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/wal"
)

// instantJournal syncs everything at once, on one goroutine, as a committer does.
type instantJournal struct {
	mu    sync.Mutex
	next  wal.LSN
	queue chan func(error)
}

func (j *instantJournal) Append(frames []wal.Frame, done func(error)) wal.LSN {
	j.mu.Lock()
	j.next += wal.LSN(len(frames))
	last := j.next
	j.mu.Unlock()
	j.queue <- done
	return last
}

func (j *instantJournal) Synced() wal.LSN { j.mu.Lock(); defer j.mu.Unlock(); return j.next }

// BenchmarkAppend is the append path without the journal: checks, producer state, one copy, and the flusher behind it.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			r := newRig(b)
			j := &instantJournal{queue: make(chan func(error), 1<<16)}
			go func() {
				for done := range j.queue {
					done(nil)
				}
			}()
			defer close(j.queue)
			r.env.Journal = j
			cfg := DefaultConfig()
			cfg.SegmentBytes, cfg.RetentionBytes = 16<<20, 16<<20
			l := r.create(cfg)
			builder := batch.NewBuilder(batch.None)
			builder.Append(r.now, nil, make([]byte, size), nil)
			raw, err := builder.Bytes(0, 0, -1, -1, -1)
			if err != nil {
				b.Fatal(err)
			}
			var waiting sync.WaitGroup
			done := func(Appended, error) { waiting.Done() }
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				waiting.Add(1)
				l.Append(raw, AppendInfo{}, done)
				if i%4096 == 4095 { // keep the disk in memory small
					l.Retain(r.now, false)
					if _, _, err := l.Checkpoint(0); err == nil {
						_ = l.Checkpointed()
					}
				}
			}
			waiting.Wait()
		})
	}
}
