package datadir

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// Class says what kind of incident it is. The list is closed.
type Class string

// The classes. The first four are the verdicts on damage.
const (
	Torn        Class = "torn"        // an interrupted write was cut
	Corrupt     Class = "corrupt"     // damage below the floor: the range is stopped
	Undecided   Class = "undecided"   // interrupted write or rot in a group that may have been acknowledged
	IOError     Class = "io-error"    // the disk does not read or write a range
	Repaired    Class = "repaired"    // taken from the other local copy
	Stopped     Class = "stopped"     // a partition serves nothing until a person decides
	Quarantined Class = "quarantined" // an unknown file was moved
	JournalFull Class = "journal-full"
	ClockJump   Class = "clock-jump"
	Truncated   Class = "truncated" // an operator ended a log earlier, by a plan
)

// Incident is one line of the ledger: what happened to which bytes, and what to do next. Zero fields are left out.
type Incident struct {
	ID          string    `json:"id"` // set by Report: inc-1, inc-2, ...
	Time        time.Time `json:"time"`
	Class       Class     `json:"class"`
	File        string    `json:"file,omitempty"` // relative to the data directory
	Offset      int64     `json:"offset,omitempty"`
	Length      int64     `json:"length,omitempty"`
	FirstLSN    uint64    `json:"firstLsn,omitempty"`
	LastLSN     uint64    `json:"lastLsn,omitempty"`
	Topic       string    `json:"topic,omitempty"`
	TopicID     string    `json:"topicId,omitempty"`
	Partition   int32     `json:"partition,omitempty"`
	FirstOffset int64     `json:"firstOffset,omitempty"`
	LastOffset  int64     `json:"lastOffset,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Evidence    string    `json:"evidence,omitempty"` // file in evidence/
	Message     string    `json:"message"`
	Next        string    `json:"next,omitempty"` // the command to run
}

// key is what makes two reports one incident: everything but id, time and the words.
func (i Incident) key() string {
	i.ID, i.Time, i.Message, i.Next, i.Evidence = "", time.Time{}, "", "", ""
	b, err := json.Marshal(i)
	if err != nil {
		return i.Message
	}
	return string(b)
}

const (
	maxLine    = 64 << 10 // bytes of one ledger line; a longer one is damage
	maxMessage = 8 << 10  // bytes of each text field, at most 6 bytes each in JSON
	maxKeys    = 10_000   // incidents remembered to recognise one that is reported again
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ledger appends to incidents.jsonl.
type ledger struct {
	fsys vfs.FS
	name string
	now  func() time.Time

	mu   sync.Mutex
	size int64             // bytes that are whole lines
	last uint64            // highest number given
	ids  map[string]string // key → id
}

func openLedger(fsys vfs.FS, dir string, now func() time.Time) (*ledger, error) {
	l := &ledger{fsys: fsys, name: filepath.Join(dir, IncidentsFile), now: now, ids: map[string]string{}}
	ended, err := scan(fsys, l.name, func(i Incident, _ int64) {
		l.note(i)
	}, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open incident ledger: %w", err)
	}
	l.size = ended
	return l, nil
}

func (l *ledger) note(i Incident) {
	if n, err := strconv.ParseUint(strings.TrimPrefix(i.ID, "inc-"), 10, 64); err == nil && n < math.MaxUint64 {
		l.last = max(l.last, n)
	}
	if len(l.ids) < maxKeys {
		l.ids[i.key()] = i.ID
	}
}

// Report appends an incident to the ledger, synced, and returns its id. An incident that is there already, recognised by everything but id,
// time and texts, is not written again and answers its old id. An error means that it may be missing after a crash.
func (d *Dir) Report(i Incident) (id string, err error) {
	l := d.ledge
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range []*string{&i.Message, &i.Next, &i.Evidence, &i.File, &i.Topic, &i.TopicID, &i.Reason} {
		limit := maxMessage / 8
		if s == &i.Message {
			limit = maxMessage / 2
		}
		if len(*s) > limit {
			*s = strings.ToValidUTF8((*s)[:limit], "") + "…"
		}
	}
	if id, ok := l.ids[i.key()]; ok {
		return id, nil
	}
	i.ID, i.Time = fmt.Sprintf("inc-%d", l.last+1), l.now().UTC()
	line, err := i.line()
	if err == nil {
		err = l.append(line)
	}
	if err != nil {
		return i.ID, fmt.Errorf("report incident %s: %w", i.ID, err)
	}
	l.note(i)
	return i.ID, nil
}

// line renders an incident with the CRC of what comes before it.
func (i Incident) line() ([]byte, error) {
	b, err := json.Marshal(i)
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	return fmt.Appendf(b, `,"crc":"%08x"}`+"\n", crc32.Checksum(b, castagnoli)), nil
}

func (l *ledger) append(line []byte) (err error) {
	f, err := l.fsys.OpenFile(l.name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	at := l.size
	if size > at { // a torn line, or what an append that failed has left: it stays, ended by a newline, and is read as damage
		line, at = append([]byte("\n"), line...), size
	}
	if _, err := f.WriteAt(line, at); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if l.size == 0 {
		if err := l.fsys.SyncDir(filepath.Dir(l.name)); err != nil {
			return err
		}
	}
	l.size = at + int64(len(line))
	return nil
}

// BadLine is a line of the ledger that cannot be read.
type BadLine struct {
	Offset int64  `json:"offset"` // in bytes, in incidents.jsonl
	Length int64  `json:"length"`
	Reason string `json:"reason"`
}

// ReadIncidents calls fn with each incident in order, and returns the lines that are damaged, at most 1000 of them; reading goes on behind
// each. A missing ledger is an empty one.
func ReadIncidents(fsys vfs.FS, dir string, fn func(Incident)) ([]BadLine, error) {
	var bad []BadLine
	_, err := scan(fsys, filepath.Join(dir, IncidentsFile), func(i Incident, _ int64) { fn(i) }, func(b BadLine) {
		if len(bad) < 1000 {
			bad = append(bad, b)
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return bad, fmt.Errorf("read incident ledger: %w", err)
	}
	return bad, nil
}

// scan reads the ledger line by line and returns where the last newline ends.
func scan(fsys vfs.FS, name string, fn func(Incident, int64), damaged func(BadLine)) (ended int64, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, math.MaxInt64), maxLine)
	at := int64(0)
	bad := func(length int64, reason string) {
		if damaged != nil && length > 0 {
			damaged(BadLine{Offset: at, Length: length, Reason: reason})
		}
	}
	for {
		line, err := r.ReadSlice('\n')
		length := int64(len(line))
		switch {
		case errors.Is(err, io.EOF):
			bad(length, "torn: no newline at its end")
			return ended, nil
		case errors.Is(err, bufio.ErrBufferFull):
			for errors.Is(err, bufio.ErrBufferFull) {
				line, err = r.ReadSlice('\n')
				length += int64(len(line))
			}
			bad(length, "longer than 64 KiB")
		case err == nil && length > 1:
			if i, reason := parse(line[:length-1]); reason == "" {
				fn(i, at)
			} else {
				bad(length, reason)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return ended, err
		}
		at += length
		if err == nil {
			ended = at
		}
	}
}

// parse checks one line.
func parse(line []byte) (Incident, string) {
	var i Incident
	cut := bytes.LastIndex(line, []byte(`,"crc":"`))
	if cut < 0 || string(line[cut:]) != fmt.Sprintf(`,"crc":"%08x"}`, crc32.Checksum(line[:cut], castagnoli)) {
		return i, "CRC differs"
	}
	if err := json.Unmarshal(line, &i); err != nil {
		return i, "not an incident: " + err.Error()
	}
	return i, ""
}
