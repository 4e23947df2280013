package live

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// maxLine bounds one snapshot of a recording, in bytes.
const maxLine = 16 << 20

// Recording is a session that was written down: a snapshot per line, JSON. Poll answers one after the other, then the last again and again.
type Recording struct {
	Snapshots []*Snapshot
	mu        sync.Mutex
	next      int
}

// ReadRecording reads a recording whole.
func ReadRecording(r io.Reader) (*Recording, error) {
	rec := &Recording{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var s Snapshot
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("recorded session: line %d: %w", n, err)
		}
		rec.Snapshots = append(rec.Snapshots, &s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("recorded session: %w", err)
	}
	if len(rec.Snapshots) == 0 {
		return nil, fmt.Errorf("recorded session: it is empty")
	}
	return rec, nil
}

// Poll implements Source.
func (r *Recording) Poll(context.Context, Want) *Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.Snapshots[min(r.next, len(r.Snapshots)-1)]
	r.next++
	return s
}

// Recorder passes a source's answers on and writes them down.
type Recorder struct {
	Source Source
	To     io.Writer
	Err    error // of the first write that failed; nothing is written after it
	mu     sync.Mutex
}

// Poll implements Source.
func (r *Recorder) Poll(ctx context.Context, w Want) *Snapshot {
	s := r.Source.Poll(ctx, w)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Err == nil {
		var line []byte
		if line, r.Err = json.Marshal(s); r.Err == nil {
			_, r.Err = r.To.Write(append(line, '\n'))
		}
	}
	return s
}
