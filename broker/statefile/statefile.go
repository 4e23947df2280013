// Package statefile keeps small state in two files, P.0 and P.1, that are both current.
//
// The guarantee: after Store returned, either file alone gives the new state; after a crash inside Store, or the loss of any one file, Load gives
// the old state or the new one, whole. One current file beside its predecessor would not do: an old checkpoint points into a freed
// journal, an old vote lets a node vote twice. The format is docs/format/statefile.md.
//
// Create makes both files, Load reads them and changes nothing, Mend writes the one that won again and then the one that lost, Store replaces both,
// the one that lost first. Call Mend after Load and before anything depends on what was loaded: a process that was killed, or that ended because a sync
// had failed, can have left a copy in the page cache only, which is read, and which a power loss then takes. After a failed sync some file systems call
// such pages clean, and another sync writes nothing: so what was loaded is written, byte for byte, not only synced.
package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/vfs"
)

// ErrMissing says that neither file exists.
var ErrMissing = errors.New("neither copy exists")

// State is what Load found of one copy.
type State string

// The states of a copy.
const (
	OK             State = "ok"
	Missing        State = "missing"
	Corrupt        State = "corrupt"
	UnknownVersion State = "unknown-version"
	IOError        State = "io-error"
)

// Reason says why a copy is not ok. The list is closed.
type Reason string

// The reasons.
const (
	ReasonShort        Reason = "file is shorter than its header"
	ReasonMagic        Reason = "not a state file"
	ReasonVersion      Reason = "unknown format version"
	ReasonHeaderCRC    Reason = "header CRC differs"
	ReasonKind         Reason = "state of another kind"
	ReasonDirectory    Reason = "belongs to another data directory"
	ReasonLength       Reason = "file size differs from the length in the header"
	ReasonBodyCRC      Reason = "body CRC differs"
	ReasonTooLarge     Reason = "file is larger than the limit"
	ReasonContradicted Reason = "both copies carry this sequence number and differ"
	ReasonRead         Reason = "the disk does not read it"
)

// Copy describes one of the two files.
type Copy struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Seq     uint64 `json:"seq"`               // if ok
	Version uint16 `json:"version,omitempty"` // of the body, as the file says
	Reason  Reason `json:"reason,omitempty"`
	Offset  int64  `json:"offset"` // of the field that is wrong, in bytes
	Err     error  `json:"-"`      // of an io-error

	sure bool // an unknown version under a valid header CRC
	body []byte
	raw  []byte // the whole file, as read
}

// Body returns the state that the copy holds; nil unless it is ok, or contradicted by the other copy. The caller does not change it.
func (c Copy) Body() []byte { return c.body }

func (c Copy) String() string {
	switch c.State {
	case OK:
		return fmt.Sprintf("%s: ok, sequence %d", c.Name, c.Seq)
	case Missing:
		return c.Name + ": missing"
	case IOError:
		return fmt.Sprintf("%s: %v", c.Name, c.Err)
	case UnknownVersion:
		return fmt.Sprintf("%s: %s %d", c.Name, c.Reason, c.Version)
	}
	return fmt.Sprintf("%s: %s at byte %d", c.Name, c.Reason, c.Offset)
}

// BadError says that no copy can be used. Nothing was changed.
type BadError struct {
	Base   string
	Copies [2]Copy
}

func (e *BadError) Error() string {
	return fmt.Sprintf("load %s: no usable copy: %s; %s", e.Base, e.Copies[0], e.Copies[1])
}

// Unwrap returns the I/O errors, if there were any.
func (e *BadError) Unwrap() []error {
	var errs []error
	for _, c := range e.Copies {
		if c.Err != nil {
			errs = append(errs, c.Err)
		}
	}
	return errs
}

// VersionError says that a copy is written in a format version that this binary does not know. Nothing was changed.
type VersionError struct {
	Name           string
	Version, Known uint16
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("load %s: unknown format version %d, this binary knows %d; use the release that wrote it, or a newer one",
		e.Name, e.Version, e.Known)
}

// File is loaded state. It is not safe for concurrent use.
type File struct {
	fsys   vfs.FS
	base   string
	header header
	body   []byte
	copies [2]Copy
	synced bool // what Load read was made durable by this process
	failed error
}

// Load reads both copies and changes nothing. The errors are ErrMissing, *VersionError and *BadError. A zero id accepts any directory.
func Load(fsys vfs.FS, base string, kind [4]byte, version uint16, id [16]byte) (*File, error) {
	f := &File{fsys: fsys, base: base, header: header{kind: kind, version: version, id: id}}
	for i := range f.copies {
		f.copies[i] = f.read(i)
	}
	a, b := &f.copies[0], &f.copies[1]
	if a.State == Missing && b.State == Missing {
		return nil, fmt.Errorf("load %s: %w", base, ErrMissing)
	}
	for i := range f.copies {
		if c, other := &f.copies[i], &f.copies[1-i]; c.State == UnknownVersion && (c.sure || other.State != OK) {
			return nil, &VersionError{Name: c.Name, Version: c.Version, Known: version}
		}
	}
	if a.State == OK && b.State == OK && a.Seq == b.Seq && !bytes.Equal(a.body, b.body) {
		for i := range f.copies {
			f.copies[i].State, f.copies[i].Reason, f.copies[i].Offset = Corrupt, ReasonContradicted, offSeq
		}
	}
	if a.State != OK && b.State != OK {
		return nil, &BadError{Base: base, Copies: f.copies}
	}
	win := f.winner()
	f.header.seq, f.body = f.copies[win].Seq, f.copies[win].body
	return f, nil
}

// read judges one copy.
func (f *File) read(i int) Copy {
	c := Copy{Name: f.name(i)}
	data, err := vfs.ReadFile(f.fsys, c.Name, MaxBody+headerSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.State = Missing
		return c
	case errors.Is(err, vfs.ErrTooLarge):
		c.State, c.Reason = Corrupt, ReasonTooLarge
		return c
	case err != nil:
		c.State, c.Reason, c.Err = IOError, ReasonRead, err
		return c
	}
	h, body, bad := decode(data, f.header)
	c.Version = h.version
	switch {
	case bad == nil:
		c.State, c.Seq, c.body, c.raw = OK, h.seq, body, data
	case bad.reason == ReasonVersion:
		c.State, c.Reason, c.Offset, c.sure = UnknownVersion, bad.reason, bad.offset, bad.sure
	default:
		c.State, c.Reason, c.Offset = Corrupt, bad.reason, bad.offset
	}
	return c
}

// winner is the copy whose state counts: valid, and the higher sequence.
func (f *File) winner() int {
	a, b := f.copies[0], f.copies[1]
	if a.State != OK || b.State == OK && b.Seq > a.Seq {
		return 1
	}
	return 0
}

func (f *File) name(i int) string { return fmt.Sprintf("%s.%d", f.base, i) }

// Create writes the first state, sequence 1. It refuses with fs.ErrExist if one of the files is there.
func Create(fsys vfs.FS, base string, kind [4]byte, version uint16, id [16]byte, body []byte) (*File, error) {
	f := &File{fsys: fsys, base: base, header: header{kind: kind, version: version, id: id}, synced: true}
	for i := range f.copies {
		f.copies[i] = Copy{Name: f.name(i), State: Missing}
		ok, err := vfs.Exists(fsys, f.name(i))
		if err != nil {
			return nil, fmt.Errorf("create %s: %w", base, err)
		}
		if ok {
			return nil, fmt.Errorf("create %s: %s: %w", base, f.name(i), fs.ErrExist)
		}
	}
	if err := f.Store(body); err != nil {
		return nil, err
	}
	return f, nil
}

// Replace makes body the state under a sequence number, whatever the files held before. It is for package repair: whoever else writes loads first.
func Replace(fsys vfs.FS, base string, kind [4]byte, version uint16, id [16]byte, sequence uint64, body []byte) (*File, error) {
	f := &File{fsys: fsys, base: base, header: header{kind: kind, version: version, id: id, seq: sequence - 1}, synced: true}
	for i := range f.copies {
		f.copies[i] = Copy{Name: f.name(i), State: Corrupt}
		ok, err := vfs.Exists(fsys, f.name(i))
		if err != nil {
			return nil, fmt.Errorf("replace %s: %w", base, err)
		}
		if !ok {
			f.copies[i].State = Missing
		}
	}
	if err := f.Store(body); err != nil {
		return nil, err
	}
	return f, nil
}

// Body returns the state. The caller does not change it.
func (f *File) Body() []byte { return f.body }

// Seq returns the sequence number of the state: 1 for the first, one more with each Store.
func (f *File) Seq() uint64 { return f.header.seq }

// Copies describes both files as Load found them or as the last Store or Mend left them.
func (f *File) Copies() [2]Copy { return f.copies }

// Store makes body the state: when it returns nil, both files hold it, synced. The copy that lost at Load is written first, so one valid copy
// is there at every moment. After an error it is not known which of the two states a restart will see. Where there was no room (vfs.NoRoom) the
// call may be repeated; after any other error the File accepts nothing more.
func (f *File) Store(body []byte) error {
	if len(body) > MaxBody {
		return fmt.Errorf("store %s: %d bytes, limit %d", f.base, len(body), MaxBody)
	}
	if f.failed != nil {
		return f.failed
	}
	if err := f.settle(); err != nil {
		return err
	}
	next := f.header
	next.seq++
	data := encode(next, body)
	first := 1 - f.winner()
	if f.copies[0].State == f.copies[1].State && f.copies[0].Seq == f.copies[1].Seq {
		first = 0
	}
	oldHeader, oldBody := f.header, f.body
	f.header, f.body = next, data[headerSize:]
	for n, i := range [2]int{first, 1 - first} {
		if planted.Is(planted.OneCopy) && n > 0 {
			break
		}
		err := f.write(i, data)
		if err == nil {
			continue
		}
		if n == 0 { // the other copy is what it was
			f.header, f.body = oldHeader, oldBody
		}
		return f.fail(fmt.Errorf("store %s: %w", f.base, err))
	}
	return nil
}

// fail returns err, and remembers it unless it can be tried again.
func (f *File) fail(err error) error {
	if !vfs.NoRoom(err) {
		f.failed = err
	}
	return err
}

// Mend makes durable what was loaded: it writes the copies that hold it again, with the same bytes, and syncs them, then the one that lost.
func (f *File) Mend() error {
	if f.failed != nil {
		return f.failed
	}
	if err := f.settle(); err != nil {
		return err
	}
	loser := 1 - f.winner()
	if c := f.copies[loser]; c.State == OK && c.Seq == f.header.seq {
		return nil
	}
	if err := f.write(loser, encode(f.header, f.body)); err != nil {
		return f.fail(fmt.Errorf("mend %s: %w", f.base, err))
	}
	return nil
}

// settle writes the copies that hold what Load found once more, and syncs them and their names. Only then may one of them be overwritten. While a copy
// is written with the bytes that it has, no crash changes it for the worse.
func (f *File) settle() error {
	if f.synced || planted.Is(planted.TrustUnsynced) {
		return nil
	}
	for i := range f.copies {
		if f.copies[i].State != OK || f.copies[i].Seq != f.header.seq {
			continue
		}
		if err := f.again(i); err != nil {
			return f.fail(fmt.Errorf("write %s again: %w", f.name(i), err))
		}
	}
	if err := f.fsys.SyncDir(filepath.Dir(f.base)); err != nil {
		return f.fail(fmt.Errorf("sync the directory of %s: %w", f.base, err))
	}
	f.synced = true
	return nil
}

// again writes a copy with the bytes that were read from it, and syncs it.
func (f *File) again(i int) error {
	file, err := f.fsys.OpenFile(f.name(i), os.O_RDWR)
	if err != nil {
		return err
	}
	if _, err = file.WriteAt(f.copies[i].raw, 0); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// write replaces one copy and syncs it, and its name if that is new.
func (f *File) write(i int, data []byte) (err error) {
	name := f.name(i)
	file, err := f.fsys.OpenFile(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := file.Size()
	if err != nil {
		return err
	}
	if f.copies[i].State != Missing {
		f.copies[i].State = Corrupt // until it is whole again
	}
	if _, err := file.WriteAt(data, 0); err != nil {
		return err
	}
	if size > int64(len(data)) {
		if err := file.Truncate(int64(len(data))); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if f.copies[i].State == Missing {
		if err := f.fsys.SyncDir(filepath.Dir(name)); err != nil {
			return err
		}
	}
	f.copies[i] = Copy{Name: name, State: OK, Seq: f.header.seq, Version: f.header.version}
	return nil
}

// Names returns the names of both files.
func Names(base string) [2]string { return [2]string{base + ".0", base + ".1"} }

// Base returns the base of a copy's name, and false if name is not one.
func Base(name string) (string, bool) {
	if base, ok := strings.CutSuffix(name, ".0"); ok {
		return base, true
	}
	return strings.CutSuffix(name, ".1")
}

// Owner reads which data directory a state belongs to, of any kind and even if its body is damaged. ok is false if no header can be read, or if the
// copies name different directories. It changes nothing.
func Owner(fsys vfs.FS, base string) (id [16]byte, ok bool) {
	for _, name := range Names(base) {
		data, err := vfs.ReadFile(fsys, name, MaxBody+headerSize)
		if err != nil {
			continue
		}
		one, whole := headerID(data)
		if !whole {
			continue
		}
		if ok && one != id {
			return [16]byte{}, false
		}
		id, ok = one, true
	}
	return id, ok
}
