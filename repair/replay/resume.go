package replay

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// The resume file is kept as two copies, FILE.0 and FILE.1, in the broker's format for small state (package statefile); the body is JSON.
var resumeKind = [4]byte{'R', 'P', 'L', 'Y'}

const resumeVersion = 1

// progressState is the body of the resume file.
type progressState struct {
	Source struct {
		Directory   string `json:"directory"`   // id of the data directory
		Fingerprint string `json:"fingerprint"` // of the batches to send
	} `json:"source"`
	Target struct {
		Cluster string `json:"cluster"` // id
	} `json:"target"`
	Producer struct {
		ID    int64 `json:"id"`
		Epoch int16 `json:"epoch"`
	} `json:"producer"`
	Written int64       `json:"written"` // wall clock, ms
	Done    bool        `json:"done"`
	Lanes   []laneState `json:"partitions"`
}

// laneState is how far one partition is. Everything below Next was answered; nothing from the sixth batch after it on was sent.
type laneState struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Target     string `json:"target"`    // topic
	TargetID   string `json:"target_id"` // its id
	Next       int64  `json:"next"`      // source offset
	Sequence   int32  `json:"sequence"`  // of the next batch
	Batches    int64  `json:"batches"`   // answered
	Records    int64  `json:"records"`
	Bytes      int64  `json:"bytes"`
	Duplicates int64  `json:"duplicates"`   // batches that the target knew already: sent by a replay that was killed, or on a connection that broke
	First      int64  `json:"first_offset"` // in the target, of the first record; -1: none yet
	End        int64  `json:"end_offset"`   // in the target, after the newest record answered; its end at the start if there is none yet
}

// resumeFile is the resume file, locked by this process.
type resumeFile struct {
	path string
	file *statefile.File
	lock io.Closer
}

// createResume makes the resume file; it must not exist. It is durable when this returns.
func createResume(fsys vfs.FS, path string, st *progressState) (*resumeFile, error) {
	body, err := st.encode()
	if err != nil {
		return nil, err
	}
	f, err := statefile.Create(fsys, path, resumeKind, resumeVersion, [16]byte{}, body)
	if err != nil {
		return nil, fmt.Errorf("resume file: %w", err)
	}
	r := &resumeFile{path: path, file: f}
	return r, r.take(fsys)
}

// loadResume reads a resume file; nil if there is none.
func loadResume(fsys vfs.FS, path string) (*resumeFile, *progressState, error) {
	f, err := statefile.Load(fsys, path, resumeKind, resumeVersion, [16]byte{})
	if errors.Is(err, statefile.ErrMissing) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("resume file: %w: %w; name another one with --resume, which replays from the start", ErrRefused, err)
	}
	r := &resumeFile{path: path, file: f}
	if err := r.take(fsys); err != nil {
		return nil, nil, err
	}
	if f, err = statefile.Load(fsys, path, resumeKind, resumeVersion, [16]byte{}); err != nil { // what the last holder left
		return nil, nil, errors.Join(err, r.close())
	}
	st := &progressState{}
	if err := json.Unmarshal(f.Body(), st); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("resume file %s: %w: %w", path, ErrRefused, err), r.close())
	}
	r.file = f
	if err := f.Mend(); err != nil {
		return nil, nil, errors.Join(err, r.close())
	}
	return r, st, nil
}

// take locks the file, so that two replays never share a producer.
func (r *resumeFile) take(fsys vfs.FS) (err error) {
	r.lock, err = fsys.Lock(statefile.Names(r.path)[0])
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: another replay works with resume file %s; wait for it", ErrRefused, r.path)
	}
	return err
}

// store makes a state durable.
func (r *resumeFile) store(body []byte) error {
	if err := r.file.Store(body); err != nil {
		return fmt.Errorf("resume file: %w", err)
	}
	return nil
}

func (r *resumeFile) close() error { return r.lock.Close() }

// encode renders the state.
func (s *progressState) encode() ([]byte, error) {
	s.Written = time.Now().UnixMilli()
	return json.Marshal(s)
}

// matches fails unless the resume file is that of this source, this target and this choice of topics.
func (s *progressState) matches(path string, want *progressState) error {
	refuse := func(what, has, is string) error {
		return fmt.Errorf("%w: resume file %s is of another %s: %s, not %s; name another file with --resume", ErrRefused, path, what, has, is)
	}
	switch {
	case s.Source.Directory != want.Source.Directory:
		return refuse("source", "directory "+s.Source.Directory, want.Source.Directory)
	case s.Target.Cluster != want.Target.Cluster:
		return refuse("target", "cluster "+s.Target.Cluster, want.Target.Cluster)
	case len(s.Lanes) != len(want.Lanes):
		return refuse("choice of topics", fmt.Sprint(len(s.Lanes), " partitions"), fmt.Sprint(len(want.Lanes)))
	}
	for i := range s.Lanes {
		a, b := &s.Lanes[i], &want.Lanes[i]
		if a.Topic != b.Topic || a.Partition != b.Partition || a.Target != b.Target {
			return refuse("choice of topics", fmt.Sprintf("%s-%d to %s", a.Topic, a.Partition, a.Target), fmt.Sprintf("%s-%d to %s", b.Topic, b.Partition, b.Target))
		}
		if a.TargetID != b.TargetID {
			return fmt.Errorf("%w: topic %s of the target was deleted and made anew since resume file %s was written; name another file with --resume", ErrRefused, a.Target, path)
		}
	}
	if s.Source.Fingerprint != want.Source.Fingerprint {
		return fmt.Errorf("%w: the source has changed since resume file %s was written: a node ran on it, or it was mended; name another file with --resume, which replays from the start",
			ErrRefused, path)
	}
	return nil
}

func hexID(id [16]byte) string { return hex.EncodeToString(id[:]) }
