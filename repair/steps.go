package repair

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"chronik.dev/chronik/broker/vfs"
)

// executor does steps in a data directory. Each may have been done before, or begun: then it comes to the same.
type executor struct {
	fs   vfs.FS
	dir  string // the data directory
	keep string // repairs/<id>/
}

func (x *executor) path(rel string) string { return filepath.Join(x.dir, filepath.FromSlash(rel)) }
func (x *executor) kept(rel string) string { return filepath.Join(x.keep, filepath.FromSlash(rel)) }

// run does all steps. Each is durable before the next: what a later one relies on is there after a power cut.
func (x *executor) run(steps []Step) error {
	for i := range steps {
		s := &steps[i]
		if err := x.step(s); err != nil {
			return fmt.Errorf("step %d of %d, %s %s: %w", i+1, len(steps), s.Op, s.File, err)
		}
	}
	return nil
}

func (x *executor) step(s *Step) error {
	switch s.Op {
	case OpWrite:
		return x.write(s)
	case OpRemove:
		return x.rename(x.path(s.File), x.kept(s.Keep), s.Made)
	case OpRestore:
		return x.rename(x.kept(s.Keep), x.path(s.File), false)
	case OpRename:
		return x.rename(x.path(s.File), x.path(s.To), false)
	case OpMkdir:
		if err := x.fs.Mkdir(x.path(s.File)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return x.syncDir(filepath.Dir(x.path(s.File)))
	case OpRmdir:
		if err := x.fs.Remove(x.path(s.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return x.syncDir(filepath.Dir(x.path(s.File)))
	}
	return fmt.Errorf("%w: unknown step", ErrPlan)
}

// rename gives a file another name unless it has it already. made: the repair made it, or was killed before.
func (x *executor) rename(from, to string, made bool) error {
	for _, rest := range []string{from + carrySuffix, to + carrySuffix} { // of an attempt before
		if err := x.fs.Remove(rest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	here, err := vfs.Exists(x.fs, from)
	if err != nil {
		return err
	}
	there, err := vfs.Exists(x.fs, to)
	switch {
	case err != nil:
		return err
	case here && there: // a power cut between the syncs of two directories leaves one file under two names
		if err := x.twice(from, to); err != nil {
			return err
		}
	case here:
		err := x.fs.Rename(from, to)
		if errors.Is(err, syscall.EXDEV) { // wal/ may be a link to another disk
			err = x.carry(from, to)
		}
		if err != nil {
			return err
		}
	case !there && !made:
		return fmt.Errorf("neither %s nor %s is there: something else changed the directory", from, to)
	}
	if err := x.syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return x.syncDir(filepath.Dir(from))
}

// carrySuffix ends the name of a copy that is not whole yet.
const carrySuffix = ".repair" + vfs.TempSuffix

// carry moves a file to another file system. The copy is whole and durable before it gets its name, and has it before the original goes: a crash
// leaves one of them, or both with the same content.
func (x *executor) carry(from, to string) error {
	source, err := x.fs.OpenFile(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	size, err := source.Size()
	if err != nil {
		return err
	}
	temp := to + carrySuffix
	copied, err := x.fs.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_RDWR)
	if err != nil {
		return err
	}
	if err = copyRange(source, copied, 0, size); err == nil {
		err = copied.Sync()
	}
	if err = errors.Join(err, copied.Close()); err != nil {
		return err
	}
	if err := x.fs.Rename(temp, to); err != nil {
		return err
	}
	if err := x.fs.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return x.fs.Remove(from)
}

// syncDir makes names durable; the directory of a step that was done long ago may be gone.
func (x *executor) syncDir(dir string) error {
	if err := x.fs.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// twice removes the first of two names if both have the same content.
func (x *executor) twice(from, to string) error {
	a, err := hashFile(x.fs, from)
	if err != nil {
		return err
	}
	b, err := hashFile(x.fs, to)
	if err != nil {
		return err
	}
	if *a != *b {
		return fmt.Errorf("%s and %s are both there and differ: something else changed the directory; nothing was overwritten", from, to)
	}
	if err := x.fs.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return x.fs.Remove(from)
}

// write puts the pieces into the file, gives it its size, syncs it and compares it with what it must be.
func (x *executor) write(s *Step) error {
	name := x.path(s.File)
	f, err := x.fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if err = x.pieces(s, f); err == nil {
		err = f.Truncate(s.After.Size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := x.fs.SyncDir(filepath.Dir(name)); err != nil {
		return err
	}
	is, err := hashFile(x.fs, name)
	if err != nil {
		return err
	}
	if *is != *s.After {
		return fmt.Errorf("afterwards the file has %d bytes with SHA-256 %s, not %d with %s: something else changed it, or the disk returns other bytes "+
			"than were written", is.Size, is.SHA256, s.After.Size, s.After.SHA256)
	}
	return nil
}

func (x *executor) pieces(s *Step, f vfs.File) (err error) {
	var keep vfs.File
	defer func() {
		if keep != nil {
			err = errors.Join(err, keep.Close())
		}
	}()
	for i := range s.Pieces {
		p := &s.Pieces[i]
		if p.Coding == codeKeep {
			if keep == nil {
				if keep, err = x.fs.OpenFile(x.kept(s.Keep), os.O_RDONLY); err != nil {
					return err
				}
			}
			if err := copyRange(keep, f, p.Offset, p.Length); err != nil {
				return err
			}
			continue
		}
		data, err := p.unpack()
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(data, p.Offset); err != nil {
			return err
		}
	}
	return nil
}

// copyRange copies bytes to the same place of another file, in bounded memory.
func copyRange(from, to vfs.File, offset, length int64) error {
	buf := make([]byte, min(length, copyChunk))
	for end := offset + length; offset < end; {
		b := buf[:min(end-offset, copyChunk)]
		if n, err := from.ReadAt(b, offset); n < len(b) {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		if _, err := to.WriteAt(b, offset); err != nil {
			return err
		}
		offset += int64(len(b))
	}
	return nil
}

// inverse returns the steps that take steps back: in the other order, each the opposite.
func inverse(steps []Step) []Step {
	out := make([]Step, 0, len(steps))
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		switch s.Op {
		case OpWrite:
			if s.Before == nil {
				out = append(out, Step{Op: OpRemove, File: s.File, Before: s.After, Made: true, Keep: fmt.Sprintf("undone/%d", i)})
				continue
			}
			back := Step{Op: OpWrite, File: s.File, Before: s.After, After: s.Before, Keep: evidenceName(i)}
			for _, r := range overwritten(s) {
				back.Pieces = append(back.Pieces, Piece{Offset: r.Offset, Length: r.Length, Coding: codeKeep})
			}
			out = append(out, back)
		case OpRemove:
			out = append(out, Step{Op: OpRestore, File: s.File, After: s.Before, Keep: s.Keep})
		case OpRename:
			out = append(out, Step{Op: OpRename, File: s.To, To: s.File, Before: s.After, After: s.Before})
		case OpMkdir:
			out = append(out, Step{Op: OpRmdir, File: s.File})
		case OpRmdir:
			out = append(out, Step{Op: OpMkdir, File: s.File})
		}
	}
	return out
}

// evidenceName is the file in repairs/<id>/ that keeps what step i overwrites.
func evidenceName(i int) string { return fmt.Sprintf("before/%d", i) }

// overwritten lists the ranges of the old file that a write step changes or cuts off.
func overwritten(s *Step) []Piece {
	var out []Piece
	for _, p := range s.Pieces {
		if n := min(p.Length, s.Before.Size-p.Offset); n > 0 {
			out = append(out, Piece{Offset: p.Offset, Length: n})
		}
	}
	if s.After.Size < s.Before.Size {
		out = append(out, Piece{Offset: s.After.Size, Length: s.Before.Size - s.After.Size})
	}
	return out
}
