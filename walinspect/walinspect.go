// Package walinspect reads what is on a node's disk and says what it is: Scan lists every file, Verify reports every damage with its
// verdict, evidence and next command, Dump shows frames, batches and records.
//
// The idea: the decoders are those of the broker (packages wal, segment, batch, statefile, recovery), so the tools cannot drift from it;
// this package only walks, filters and words. It reads chronik's data directories, their parts and single files, and Apache Kafka's log
// directories.
//
// The guarantee: nothing is ever written: the file system is used through a wrapper that refuses it. The directory's lock is tested and
// not held. Work goes on past damage. Memory does not depend on the size of what is read: results are handed to a callback one by one.
//
// The API: Open finds out what a path is; Target has Scan, Verify and Dump. The package never imports broker itself.
package walinspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// Kind is what a path holds.
type Kind string

// The kinds.
const (
	DataDir      Kind = "data directory"             // of a chronik node
	JournalDir   Kind = "journal directory"          // its wal/
	RaftDir      Kind = "Raft directory"             // its raft/
	TopicsDir    Kind = "topics directory"           // its topics/
	PartitionDir Kind = "partition directory"        // one of topics/, or of a Kafka log directory
	JournalFile  Kind = "journal segment"            // one .wal file of wal/ or raft/
	LogFile      Kind = "partition segment"          // one .log file
	KafkaDir     Kind = "Apache Kafka log directory" // one of log.dirs of an Apache Kafka broker
)

// Errors that callers tell apart.
var (
	// ErrUnknown says that a path is nothing that this package reads.
	ErrUnknown = errors.New("neither a chronik data directory, a part of one, nor an Apache Kafka log directory")
	// ErrStarted says that a node started on the directory while it was read; what it may be changing was left out.
	ErrStarted = errors.New("a node started on the directory while it was read")
)

// Format says whose files are read.
type Format string

// The formats. Auto looks for itself.
const (
	Auto    Format = ""
	Chronik Format = "chronik"
	Kafka   Format = "kafka"
)

// Options of Open.
type Options struct {
	FS       vfs.FS
	Path     string
	Format   Format
	Live     bool                    // the node may be running: report nothing past what it promised durable
	Only     string                  // Verify reports only files at or below this path; empty = all
	Progress func(done, total int64) // bytes read and to read; called often; nil = nobody looks
}

// Target is a path that was recognised.
type Target struct {
	Kind  Kind
	Path  string // as given
	Root  string // the data directory or Kafka log directory that holds Path; empty if Path stands alone
	Kafka bool   // the files are Apache Kafka's own

	Bitflip bool // Verify looks for the single bit that explains a damage

	fs    *readOnly
	live  bool
	only  string   // as findings name it; empty = all
	dirID [16]byte // of the data directory; zero if it is not known
	names map[[16]byte]string
}

// Open recognises a path. Errors: vfs.ErrLocked if a node runs on the directory and Live is not set, ErrUnknown, and those of the disk.
func Open(o Options) (*Target, error) {
	t := &Target{Path: o.Path, fs: newReadOnly(o.FS, o.Progress), live: o.Live, names: map[[16]byte]string{}}
	info, err := o.FS.Stat(o.Path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		err = t.recogniseDir(o.Format)
	} else {
		err = t.recogniseFile(o.Format)
	}
	if err != nil {
		return nil, err
	}
	if o.Only != "" {
		t.only = t.rel(filepath.Clean(o.Only))
	}
	if t.Root == "" || t.Kafka {
		return t, nil
	}
	if err := t.testLock(); err != nil {
		return nil, err
	}
	if info, err := datadir.Inspect(t.fs, t.Root); err == nil { // damage to the identity is a finding of Verify
		t.dirID = info.Identity.DirectoryID
	}
	return t, t.learnNames()
}

// testLock fails if a node runs on the directory, unless the target is live.
func (t *Target) testLock() error {
	if t.live {
		return nil
	}
	running, err := datadir.Running(t.fs, t.Root)
	if err == nil && running {
		err = fmt.Errorf("data directory %s: %w; stop the node, or look at it while it runs with --live", t.Root, vfs.ErrLocked)
	}
	return err
}

// recogniseDir decides by what is in the directory, then by where it is.
func (t *Target) recogniseDir(format Format) error {
	path := filepath.Clean(t.Path)
	switch {
	case format != Kafka && t.isDataDir(path):
		t.Kind, t.Root = DataDir, path
	case t.has(path, segment.Log):
		t.Kind = PartitionDir
		t.adopt(format, path)
	case format != Kafka && t.isDataDir(filepath.Dir(path)):
		kind, known := map[string]Kind{datadir.WalDir: JournalDir, datadir.RaftDir: RaftDir, datadir.TopicsDir: TopicsDir}[filepath.Base(path)]
		if !known {
			return fmt.Errorf("%s: %w", t.Path, ErrUnknown)
		}
		t.Kind, t.Root = kind, filepath.Dir(path)
	case format != Kafka && t.isJournal(path):
		t.Kind = JournalDir
		if t.exists(path, datadir.HardStateBase+".0") || t.exists(path, datadir.HardStateBase+".1") {
			t.Kind = RaftDir
		}
	case format == Kafka || t.isKafkaDir(path):
		t.Kind, t.Root, t.Kafka = KafkaDir, path, true
	default:
		return fmt.Errorf("%s: %w", t.Path, ErrUnknown)
	}
	if format == Chronik && t.Kafka {
		return fmt.Errorf("%s: it is an %s; leave out --format or say --format kafka", t.Path, KafkaDir)
	}
	return nil
}

// adopt says whose a partition directory is, and under which root it stands.
func (t *Target) adopt(format Format, dir string) {
	parent := filepath.Dir(dir)
	switch {
	case format != Kafka && filepath.Base(parent) == datadir.TopicsDir && t.isDataDir(filepath.Dir(parent)):
		t.Root = filepath.Dir(parent)
	case t.isKafkaDir(parent):
		t.Root, t.Kafka = parent, true
	default:
		t.Kafka = format == Kafka || format == Auto && !t.exists(dir, segment.SumsFileName)
	}
}

func (t *Target) recogniseFile(format Format) error {
	dir, name := filepath.Split(filepath.Clean(t.Path))
	dir = filepath.Clean(dir)
	if kind, _, ok := segment.ParseName(name); ok && kind == segment.Log {
		t.Kind = LogFile
		t.adopt(format, dir)
		return nil
	}
	if strings.HasSuffix(name, journalSuffix) && t.isJournal(dir) {
		t.Kind = JournalFile
		if t.isDataDir(filepath.Dir(dir)) {
			t.Root = filepath.Dir(dir)
		}
		return nil
	}
	return fmt.Errorf("%s: %w; give a directory, a journal segment (%s) or a partition segment (.log)", t.Path, ErrUnknown, journalSuffix)
}

// journalSuffix ends the names of the segments in wal/ and raft/.
const journalSuffix = ".wal"

func (t *Target) exists(dir, name string) bool {
	there, err := vfs.Exists(t.fs, filepath.Join(dir, name))
	return err == nil && there
}

// isDataDir says whether dir has what the top of a data directory has: an identity, or journal and topics without one.
func (t *Target) isDataDir(dir string) bool {
	for _, name := range statefile.Names(datadir.IdentityBase) {
		if t.exists(dir, name) {
			return true
		}
	}
	return t.exists(dir, datadir.WalDir) && (t.exists(dir, datadir.TopicsDir) || t.exists(dir, datadir.RaftDir))
}

func (t *Target) isJournal(dir string) bool {
	for _, name := range statefile.Names(datadir.ManifestBase) {
		if t.exists(dir, name) {
			return true
		}
	}
	return t.any(dir, func(info fs.FileInfo) bool { return !info.IsDir() && strings.HasSuffix(info.Name(), journalSuffix) })
}

// isKafkaDir says whether dir is one of an Apache Kafka broker's log.dirs.
func (t *Target) isKafkaDir(dir string) bool {
	return t.exists(dir, kafkaMeta) || t.exists(dir, kafkaRecoveryPoints) || t.exists(dir, kafkaCleanShutdown)
}

// has says whether dir holds a file of that kind.
func (t *Target) has(dir string, kind segment.Kind) bool {
	return t.any(dir, func(info fs.FileInfo) bool {
		k, _, ok := segment.ParseName(info.Name())
		return ok && k == kind && !info.IsDir()
	})
}

func (t *Target) any(dir string, match func(fs.FileInfo) bool) bool {
	entries, err := t.fs.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if match(e) {
			return true
		}
	}
	return false
}

// rel is a path as findings name it: below the root if there is one, else as it was found.
func (t *Target) rel(path string) string {
	base := t.Root
	if base == "" {
		return path
	}
	if r, err := filepath.Rel(base, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}
