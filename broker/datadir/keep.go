package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// copyChunk bounds the memory of copying and comparing evidence.
const copyChunk = 1 << 20

// Evidence saves bytes in evidence/ under name, synced, and returns the path relative to the data directory. An existing file is never
// changed: with the same content it is the answer, with another the new one is called name.2, name.3 and so on. A crash inside a
// recovery that runs again therefore leaves one copy.
func Evidence(fsys vfs.FS, dir, name string, data []byte) (string, error) {
	return saveEvidence(fsys, dir, name, bytes.NewReader(data), int64(len(data)))
}

// EvidenceRange is Evidence for a range of a file, in bounded memory. A range that the disk does not read is an error; what is past the end of
// the file is left out.
func EvidenceRange(fsys vfs.FS, dir, name, file string, offset, length int64) (string, error) {
	f, err := fsys.OpenFile(file, os.O_RDONLY)
	if err != nil {
		return "", fmt.Errorf("save evidence: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return "", fmt.Errorf("save evidence: %w", err)
	}
	length = max(0, min(length, size-offset))
	return saveEvidence(fsys, dir, name, io.NewSectionReader(f, offset, length), length)
}

func saveEvidence(fsys vfs.FS, dir, name string, data io.ReaderAt, length int64) (string, error) {
	name = flat(name)
	if err := vfs.MkdirAll(fsys, filepath.Join(dir, EvidenceDir)); err != nil {
		return "", fmt.Errorf("save evidence %s: %w", name, err)
	}
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s.%d", name, n)
		}
		full := filepath.Join(dir, EvidenceDir, try)
		there, err := vfs.Exists(fsys, full)
		if err != nil {
			return "", fmt.Errorf("save evidence %s: %w", name, err)
		}
		if there {
			same, err := holds(fsys, full, data, length)
			if err != nil {
				return "", fmt.Errorf("save evidence %s: %w", name, err)
			}
			if !same {
				continue
			}
		} else if err := copyTo(fsys, full+vfs.TempSuffix, data, length); err != nil {
			return "", fmt.Errorf("save evidence %s: %w", name, err)
		} else if err := fsys.Rename(full+vfs.TempSuffix, full); err != nil {
			return "", fmt.Errorf("save evidence %s: %w", name, err)
		}
		if err := fsys.SyncDir(filepath.Dir(full)); err != nil {
			return "", fmt.Errorf("save evidence %s: %w", name, err)
		}
		return filepath.Join(EvidenceDir, try), nil
	}
}

// flat makes a file name of a path.
func flat(name string) string {
	return strings.NewReplacer("/", "_", `\`, "_", ":", "_").Replace(filepath.Clean(name))
}

func copyTo(fsys vfs.FS, name string, data io.ReaderAt, length int64) (err error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, min(length, copyChunk))
	for at := int64(0); at < length; {
		b := buf[:min(length-at, copyChunk)]
		if n, err := data.ReadAt(b, at); n < len(b) {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return f.Sync()
}

// holds says whether a file has exactly this content; if so it is synced.
func holds(fsys vfs.FS, name string, data io.ReaderAt, length int64) (bool, error) {
	f, err := fsys.OpenFile(name, os.O_RDWR)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size != length {
		return false, err
	}
	a, b := make([]byte, min(length, copyChunk)), make([]byte, min(length, copyChunk))
	for at := int64(0); at < length; at += copyChunk {
		n := min(length-at, copyChunk)
		if got, err := f.ReadAt(a[:n], at); int64(got) < n {
			return false, err
		}
		if got, err := data.ReadAt(b[:n], at); int64(got) < n {
			return false, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
	}
	return true, f.Sync()
}

// sidecar is what Quarantine writes beside a file it moved: name.why.json.
type sidecar struct {
	From string    `json:"from"` // relative to the data directory
	Why  string    `json:"why"`
	Time time.Time `json:"time"`
	Size int64     `json:"size"`
}

// Quarantine moves a file or directory, named relative to the data directory, into quarantine/ with a sidecar that says from where, when and
// why, and returns the new relative path. Nothing is overwritten and the content is not touched. The sidecar is safe before the file moves.
func Quarantine(fsys vfs.FS, dir, name, why string, now time.Time) (string, error) {
	rel, err := quarantine(fsys, dir, name, why, now)
	if err != nil {
		return "", fmt.Errorf("quarantine %s: %w", name, err)
	}
	return rel, nil
}

func quarantine(fsys vfs.FS, dir, name, why string, now time.Time) (string, error) {
	if !filepath.IsLocal(name) {
		return "", errors.New("not a name inside the data directory")
	}
	from := filepath.Join(dir, name)
	info, err := fsys.Stat(from)
	if err != nil {
		return "", err
	}
	if err := vfs.MkdirAll(fsys, filepath.Join(dir, QuarantineDir)); err != nil {
		return "", err
	}
	note, err := json.MarshalIndent(sidecar{From: filepath.ToSlash(name), Why: why, Time: now.UTC(), Size: info.Size()}, "", "  ")
	if err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		rel := filepath.Join(QuarantineDir, flat(name))
		if n > 1 {
			rel = fmt.Sprintf("%s.%d", rel, n)
		}
		to := filepath.Join(dir, rel)
		if there, err := vfs.Exists(fsys, to); err != nil {
			return "", err
		} else if there {
			continue
		}
		if err := vfs.WriteFile(fsys, to+".why.json", append(note, '\n')); err != nil {
			return "", err
		}
		if err := fsys.Rename(from, to); err != nil {
			return "", err
		}
		if err := fsys.SyncDir(filepath.Dir(to)); err != nil {
			return "", err
		}
		return rel, fsys.SyncDir(filepath.Dir(from))
	}
}

// Evidence is the function Evidence in this directory.
func (d *Dir) Evidence(name string, data []byte) (string, error) {
	return Evidence(d.fsys, d.path, name, data)
}

// Quarantine is the function Quarantine in this directory.
func (d *Dir) Quarantine(name, why string) (string, error) {
	return Quarantine(d.fsys, d.path, name, why, d.ledge.now())
}
