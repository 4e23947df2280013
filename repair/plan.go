package repair

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
)

// The envelope of a plan file.
const (
	PlanKind    = "chronik/repair-plan"
	PlanVersion = 1
)

// Limits. A plan that needs more is refused when it is made.
const (
	maxPlanFile = 512 << 20 // bytes of a plan file
	maxContent  = 128 << 20 // compressed bytes that a plan may carry
)

// Plan is what a repair will do, and what it costs. It changes nothing by itself.
type Plan struct {
	ID          string    `json:"id"` // time, and what the steps are
	Created     time.Time `json:"created"`
	Tool        string    `json:"tool"` // version of the binary that made it
	Verb        string    `json:"verb"`
	Args        []string  `json:"args,omitempty"`
	Directory   string    `json:"directory"`             // where it was made
	DirectoryID string    `json:"directoryId,omitempty"` // hexadecimal; empty: the identity could not be read

	Summary      []string      `json:"summary"` // for people
	Loss         []Loss        `json:"loss"`    // empty: nothing
	GroupOffsets []GroupOffset `json:"groupOffsets,omitempty"`
	LossTotal    int64         `json:"lossTotal"`             // records and Raft entries: the N of --accept-loss; LossUnknown: it cannot be said
	NeedsAccept  []string      `json:"needsAccept,omitempty"` // rules that only --accept-loss LossTotal passes
	After        []string      `json:"after,omitempty"`       // what a start of the node will still find wrong; empty: nothing

	Inputs []Input `json:"inputs"` // what the decision read and what the steps change
	Steps  []Step  `json:"steps"`
}

// Acknowledged says whether what is lost was acknowledged to its producer.
type Acknowledged string

// The answers.
const (
	AckYes     Acknowledged = "yes"
	AckNo      Acknowledged = "no"
	AckUnknown Acknowledged = "unknown" // it may have been
)

// Loss is what a plan takes from one topic-partition, or from the Raft log.
type Loss struct {
	What         string       `json:"what"` // "records", "Raft entries"
	Topic        string       `json:"topic,omitempty"`
	TopicID      string       `json:"topicId,omitempty"`
	Partition    int32        `json:"partition"`
	First        int64        `json:"first"` // offsets; Raft: indexes
	Last         int64        `json:"last"`
	Count        int64        `json:"count"` // records or entries; LossUnknown: it cannot be said, nor what Last is
	Acknowledged Acknowledged `json:"acknowledged"`
	Note         string       `json:"note,omitempty"`
}

// LossUnknown stands for a number of records that nothing on the disk tells, perhaps none.
const LossUnknown = -1

// Name is "topic-partition", or what else is lost.
func (l *Loss) Name() string {
	switch {
	case l.Topic != "":
		return fmt.Sprintf("%s-%d", l.Topic, l.Partition)
	case l.TopicID != "":
		return fmt.Sprintf("topic id %s partition %d", l.TopicID, l.Partition)
	}
	return l.What
}

// GroupOffset is a committed offset of a consumer group that a plan loses.
type GroupOffset struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // that is lost
	Left      *int64 `json:"left"`   // the older one that counts again; null: none, or it cannot be said
}

// Input is a file or directory of which the plan's decision, or its undo, depends. Names are relative to the directory, with slashes.
type Input struct {
	Name   string `json:"name"`
	Dir    bool   `json:"dir,omitempty"`    // its list of names counts
	Absent bool   `json:"absent,omitempty"` // nothing of this name is there
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"` // of the content; of a directory: of its sorted names, each with a newline
}

// Op is what a step does. The list is closed.
type Op string

// The steps. All leave what they overwrite or remove in repairs/<id>/.
const (
	OpWrite   Op = "write"   // bytes at places of a file, then its size; makes the file if it is not there
	OpRemove  Op = "remove"  // move a file away to Keep
	OpRestore Op = "restore" // the inverse of remove
	OpRename  Op = "rename"
	OpMkdir   Op = "mkdir"
	OpRmdir   Op = "rmdir"
)

// Step is one change. Doing it again after it was done, or begun, comes to the same.
type Step struct {
	Op     Op         `json:"op"`
	File   string     `json:"file"` // relative to the directory, with slashes
	To     string     `json:"to,omitempty"`
	Before *FileState `json:"before,omitempty"` // nil: no file
	After  *FileState `json:"after,omitempty"`  // nil: no file
	Pieces []Piece    `json:"pieces,omitempty"` // of OpWrite
	Made   bool       `json:"made,omitempty"`   // of OpRemove in an inverse: the repair made the file, or was killed before it did
	Keep   string     `json:"keep,omitempty"`   // file in repairs/<id>/: bytes of pieces without data, at the same offsets; what remove moved away
}

// FileState is a file's content.
type FileState struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Piece is a range of bytes that is written.
type Piece struct {
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Coding string `json:"coding,omitempty"` // "" plain, "flate", "keep": from the step's Keep
	Data   []byte `json:"data,omitempty"`
}

// Codings of a piece.
const (
	codePlain = ""
	codeFlate = "flate"
	codeKeep  = "keep"
)

// finish gives the plan its id and totals.
func (p *Plan) finish() {
	p.LossTotal = 0
	for i := range p.Loss {
		if p.Loss[i].Count < 0 {
			p.LossTotal = LossUnknown
			break
		}
		p.LossTotal += p.Loss[i].Count
	}
	if p.Loss == nil {
		p.Loss = []Loss{}
	}
	body, err := json.Marshal(struct {
		Inputs []Input
		Steps  []Step
	}{p.Inputs, p.Steps})
	if err != nil {
		panic(err) // strings, numbers and bytes only
	}
	sum := sha256.Sum256(body)
	p.ID = p.Created.Format("20060102T150405Z") + "-" + hex.EncodeToString(sum[:4])
}

var planID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)

// ValidID says whether a string can be the id of a plan.
func ValidID(id string) bool { return planID.MatchString(id) }

// envelope is the file: SHA256 is of Plan without insignificant space.
type envelope struct {
	Kind    string          `json:"kind"`
	Version int             `json:"version"`
	SHA256  string          `json:"sha256"`
	Plan    json.RawMessage `json:"plan"`
}

// Encode returns the plan as its file holds it.
func (p *Plan) Encode() ([]byte, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	b, err := json.MarshalIndent(envelope{PlanKind, PlanVersion, hex.EncodeToString(sum[:]), body}, "", " ")
	return append(b, '\n'), err
}

// Decode reads a plan file. It refuses with ErrPlan what was edited or is damaged, with ErrVersion what another release wrote.
func Decode(b []byte) (*Plan, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("%w: %w; make the plan again", ErrPlan, err)
	}
	if e.Kind != PlanKind {
		return nil, fmt.Errorf("%w: its kind is %q, not %q", ErrPlan, e.Kind, PlanKind)
	}
	if e.Version != PlanVersion {
		return nil, fmt.Errorf("%w: plan version %d, this release knows %d; use the release that made it, or make the plan again", ErrVersion, e.Version, PlanVersion)
	}
	var body bytes.Buffer
	if err := json.Compact(&body, e.Plan); err != nil {
		return nil, fmt.Errorf("%w: %w; make the plan again", ErrPlan, err)
	}
	if sum := sha256.Sum256(body.Bytes()); hex.EncodeToString(sum[:]) != e.SHA256 {
		return nil, fmt.Errorf("%w: its SHA-256 does not match its content: it was edited or is damaged; make the plan again", ErrPlan)
	}
	p := &Plan{}
	d := json.NewDecoder(&body)
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	return p, nil
}

// Load reads a plan file.
func Load(fsys vfs.FS, name string) (*Plan, error) {
	b, err := vfs.ReadFile(fsys, name, maxPlanFile)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	p, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("read plan %s: %w", name, err)
	}
	return p, nil
}

// Save writes the plan to a new file; one that is there is not overwritten.
func (p *Plan) Save(fsys vfs.FS, name string) error {
	b, err := p.Encode()
	if err != nil {
		return err
	}
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// check refuses a plan that could leave the directory, or that no release writes.
func (p *Plan) check() error {
	if !ValidID(p.ID) {
		return fmt.Errorf("its id is %q", p.ID)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if !inside(s.File) || ofRepairs(s.File) || s.To != "" && (!inside(s.To) || ofRepairs(s.To)) || s.Keep != "" && !inside(s.Keep) {
			return fmt.Errorf("step %d names a file that is not the directory's own: %q %q %q", i, s.File, s.To, s.Keep)
		}
		if err := s.check(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	for i := range p.Inputs {
		if !inside(p.Inputs[i].Name) && p.Inputs[i].Name != "." {
			return fmt.Errorf("input %d is outside of the directory: %q", i, p.Inputs[i].Name)
		}
	}
	return nil
}

// ofRepairs says whether a name is in repairs/, which no plan changes.
func ofRepairs(name string) bool {
	return name == datadir.RepairsDir || strings.HasPrefix(name, datadir.RepairsDir+"/")
}

// inside says whether a name is one below a directory, written in the one way that plans use.
func inside(name string) bool {
	return name != "." && filepath.IsLocal(filepath.FromSlash(name)) && name == filepath.ToSlash(filepath.Clean(filepath.FromSlash(name)))
}

func (s *Step) check() error {
	switch s.Op {
	case OpWrite:
		if s.After == nil {
			return errors.New("write without a result")
		}
	case OpRemove:
		if s.Keep == "" {
			return errors.New("remove without a place to keep the file")
		}
	case OpRestore:
		if s.Keep == "" || s.After == nil {
			return errors.New("restore without a source")
		}
	case OpRename:
		if s.To == "" {
			return errors.New("rename without a new name")
		}
	case OpMkdir, OpRmdir:
	default:
		return fmt.Errorf("unknown step %q", s.Op)
	}
	for _, c := range s.Pieces {
		if c.Offset < 0 || c.Length < 0 || c.Offset+c.Length > s.After.Size {
			return fmt.Errorf("bytes %d to %d of a file of %d", c.Offset, c.Offset+c.Length, s.After.Size)
		}
	}
	return nil
}

// hashFile returns size and SHA-256 of a file in bounded memory.
func hashFile(fsys vfs.FS, name string) (*FileState, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, io.NewSectionReader(f, 0, size), make([]byte, min(size+1, copyChunk))); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &FileState{Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

const copyChunk = 256 << 10

func hexID(id [16]byte) string { return hex.EncodeToString(id[:]) }
