package repair

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
)

// comparer turns what a verb did to an overlay into inputs and steps.
type comparer struct {
	over    *vfs.Overlay
	base    vfs.FS
	dir     string
	plan    *Plan
	content int64 // compressed bytes so far
}

// run fills in the plan. The order of the steps: directories are made, files move away, are written, get other names, directories go.
func (c *comparer) run() error {
	changes, err := c.over.Changes()
	if err != nil {
		return err
	}
	moved := map[string]string{} // old name to new
	for _, ch := range changes {
		if ch.Gone || ch.Dir || ch.From == "" || ch.From == ch.Name {
			continue
		}
		if gone := slices.ContainsFunc(changes, func(o vfs.Change) bool { return o.Name == ch.From && o.Gone }); gone {
			moved[ch.From] = ch.Name
		}
	}
	var made, removed, renamed, written, unmade []Step
	for _, ch := range changes {
		rel, err := c.rel(ch.Name)
		if err != nil {
			return err
		}
		switch {
		case ch.Dir && ch.Gone:
			unmade = append(unmade, Step{Op: OpRmdir, File: rel})
		case ch.Dir:
			made = append(made, Step{Op: OpMkdir, File: rel})
		case ch.Gone && moved[ch.Name] != "":
		case ch.Gone:
			s := Step{Op: OpRemove, File: rel}
			if s.Before, err = hashFile(c.base, ch.Name); err != nil {
				return err
			}
			removed = append(removed, s)
		case moved[ch.From] == ch.Name:
			ren, rest, err := c.move(ch)
			if err != nil {
				return err
			}
			renamed, written = append(renamed, ren), append(written, rest...)
		default:
			s, err := c.write(ch.Name, ch.Name)
			if err != nil {
				return err
			}
			if s != nil {
				written = append(written, *s)
			}
		}
	}
	slices.Reverse(unmade) // children first
	c.plan.Steps = slices.Concat(made, removed, written, renamed, unmade)
	for i := range c.plan.Steps {
		if s := &c.plan.Steps[i]; s.Op == OpRemove {
			s.Keep = fmt.Sprintf("before/%d", i)
		}
	}
	return c.inputs()
}

// move makes the steps for a file that has another name now, and perhaps another content. A file that had the new name was replaced: then the
// new content is written over it, and the old name goes.
func (c *comparer) move(ch vfs.Change) (Step, []Step, error) {
	from, err := c.rel(ch.From)
	if err != nil {
		return Step{}, nil, err
	}
	to, err := c.rel(ch.Name)
	if err != nil {
		return Step{}, nil, err
	}
	was, err := hashFile(c.base, ch.From)
	if err != nil {
		return Step{}, nil, err
	}
	if there, err := vfs.Exists(c.base, ch.Name); err != nil {
		return Step{}, nil, err
	} else if there {
		s, err := c.write(ch.Name, ch.Name)
		if err != nil {
			return Step{}, nil, err
		}
		gone := Step{Op: OpRemove, File: from, Before: was}
		if s == nil {
			return gone, nil, nil
		}
		return gone, []Step{*s}, nil
	}
	s, err := c.write(ch.From, ch.Name)
	if err != nil || s == nil {
		return Step{Op: OpRename, File: from, To: to, Before: was, After: was}, nil, err
	}
	s.File = from // written under its old name, where its evidence is taken from
	return Step{Op: OpRename, File: from, To: to, Before: s.After, After: s.After}, []Step{*s}, nil
}

// write makes the step that turns the file old of base, which may not be there, into the file name of the overlay; nil if they are equal.
func (c *comparer) write(old, name string) (*Step, error) {
	rel, err := c.rel(name)
	if err != nil {
		return nil, err
	}
	s := &Step{Op: OpWrite, File: rel}
	a, err := openSummed(c.base, old)
	if errors.Is(err, fs.ErrNotExist) {
		a, err = &summed{hash: sha256.New()}, nil
	} else {
		s.Before = &FileState{}
	}
	if err != nil {
		return nil, err
	}
	defer a.close()
	b, err := openSummed(c.over, name)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := c.differences(s, a, b); err != nil {
		return nil, fmt.Errorf("compare %s: %w", name, err)
	}
	s.After = b.state()
	if s.Before != nil {
		s.Before = a.state()
		if *s.Before == *s.After {
			return nil, nil
		}
	}
	return s, nil
}

// grain is the granularity in bytes at which two files are compared.
const grain = 512

// differences adds the pieces in which b differs from a.
func (c *comparer) differences(s *Step, a, b *summed) error {
	var run []byte
	start := int64(0)
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		p := Piece{Offset: start, Length: int64(len(run))}
		if err := p.pack(run); err != nil {
			return err
		}
		if c.content += int64(len(p.Data)); c.content > maxContent {
			return fmt.Errorf("the plan would carry more than %d MiB of content; repair one partition or a smaller range at a time", maxContent>>20)
		}
		s.Pieces = append(s.Pieces, p)
		run = run[:0]
		return nil
	}
	for at := int64(0); at < a.size || at < b.size; at += copyChunk {
		x, err := a.next(at)
		if err != nil {
			return err
		}
		y, err := b.next(at)
		if err != nil {
			return err
		}
		for i := 0; i < len(y); i += grain {
			piece := y[i:min(i+grain, len(y))]
			if i+len(piece) <= len(x) && bytes.Equal(piece, x[i:i+len(piece)]) {
				if err := flush(); err != nil {
					return err
				}
				continue
			}
			if len(run) == 0 {
				start = at + int64(i)
			}
			run = append(run, piece...)
			if len(run) >= maxPiece {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// maxPiece bounds the bytes of one piece.
const maxPiece = 4 << 20

// packers are flate writers to use again: each is large.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		panic(err) // only for a level that there is not
	}
	return w
}}

// pack keeps data in the piece, compressed if that helps.
func (p *Piece) pack(data []byte) error {
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	_, err := w.Write(data)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if b.Len() < len(data) {
		p.Coding, p.Data = codeFlate, b.Bytes()
	} else {
		p.Data = bytes.Clone(data)
	}
	return nil
}

// unpack returns the bytes of a piece that carries them.
func (p *Piece) unpack() ([]byte, error) {
	var data []byte
	switch p.Coding {
	case codePlain:
		data = p.Data
	case codeFlate:
		var err error
		data, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(p.Data)), p.Length+1))
		if err != nil {
			return nil, fmt.Errorf("%w: bytes %d to %d: %w", ErrPlan, p.Offset, p.Offset+p.Length, err)
		}
	default:
		return nil, fmt.Errorf("%w: unknown coding %q", ErrPlan, p.Coding)
	}
	if int64(len(data)) != p.Length {
		return nil, fmt.Errorf("%w: %d bytes at %d, %d announced", ErrPlan, len(data), p.Offset, p.Length)
	}
	return data, nil
}

// inputs lists what the verb read and what the steps touch. What lies outside of the directory was not asked for and does not count.
func (c *comparer) inputs() error {
	files, dirs := c.over.Reads()
	names := map[string]bool{}
	for _, name := range files {
		if rel, err := c.rel(name); err == nil {
			names[rel] = true
		}
	}
	for i := range c.plan.Steps {
		s := &c.plan.Steps[i]
		names[s.File] = true
		if s.To != "" {
			names[s.To] = true
		}
	}
	for name := range names {
		in, err := readInput(c.base, c.dir, Input{Name: name})
		if err != nil {
			return err
		}
		c.plan.Inputs = append(c.plan.Inputs, in)
	}
	for _, name := range dirs {
		rel, err := filepath.Rel(c.dir, name)
		if err != nil || rel != "." && !filepath.IsLocal(rel) {
			continue
		}
		in, err := readInput(c.base, c.dir, Input{Name: filepath.ToSlash(rel), Dir: true})
		if err != nil {
			return err
		}
		c.plan.Inputs = slices.DeleteFunc(c.plan.Inputs, func(i Input) bool { return i.Name == in.Name })
		c.plan.Inputs = append(c.plan.Inputs, in)
	}
	slices.SortFunc(c.plan.Inputs, func(a, b Input) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// readInput describes what a name of the directory stands for now.
func readInput(fsys vfs.FS, dir string, in Input) (Input, error) {
	name := filepath.Join(dir, filepath.FromSlash(in.Name))
	info, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Input{Name: in.Name, Absent: true}, nil
	}
	if err != nil {
		return in, err
	}
	if !info.IsDir() {
		state, err := hashFile(fsys, name)
		if err != nil {
			return in, err
		}
		return Input{Name: in.Name, Size: state.Size, SHA256: state.SHA256}, nil
	}
	infos, err := fsys.ReadDir(name)
	if err != nil {
		return in, err
	}
	h := sha256.New()
	for _, child := range infos {
		if in.Name != "." || child.Name() != datadir.RepairsDir {
			fmt.Fprintln(h, child.Name())
		}
	}
	return Input{Name: in.Name, Dir: true, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// rel names a path relative to the directory, with slashes.
func (c *comparer) rel(name string) (string, error) {
	rel, err := filepath.Rel(c.dir, name)
	if err != nil || !inside(filepath.ToSlash(rel)) {
		return "", fmt.Errorf("%s is not inside of %s", name, c.dir)
	}
	return filepath.ToSlash(rel), nil
}

// summed reads a file once, in order, and sums what it reads.
type summed struct {
	f    vfs.File // nil: an empty file
	size int64
	hash hash.Hash
	buf  []byte
}

func openSummed(fsys vfs.FS, name string) (*summed, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &summed{f: f, size: size, hash: sha256.New(), buf: make([]byte, min(size, copyChunk))}, nil
}

// next returns the chunk at an offset, less at the end, nothing past it.
func (s *summed) next(at int64) ([]byte, error) {
	if at >= s.size {
		return nil, nil
	}
	b := s.buf[:min(s.size-at, copyChunk)]
	if n, err := s.f.ReadAt(b, at); n < len(b) {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	s.hash.Write(b)
	return b, nil
}

func (s *summed) state() *FileState {
	return &FileState{Size: s.size, SHA256: hex.EncodeToString(s.hash.Sum(nil))}
}

func (s *summed) close() {
	if s.f != nil {
		_ = s.f.Close() // only read
	}
}
