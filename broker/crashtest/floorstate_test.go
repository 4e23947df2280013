package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

var errFull = syscall.ENOSPC

// stateFiles is small state in two copies: identity, manifests, checkpoint and HardState are kept so.
type stateFiles struct {
	mu     sync.Mutex
	stored []byte // acknowledged; nil: Create has not returned
	next   []byte // being stored
	plant  plant
}

const stateBase = "/dir/state"

var stateKind = [4]byte{'t', 'e', 's', 't'}

func newStateFiles(_ uint64, p plant) component { return &stateFiles{plant: p} }

func (s *stateFiles) stop() error { return nil }
func (s *stateFiles) halt()       {}

func (s *stateFiles) live(fsys vfs.FS, disk *vfs.Mem, rng *rand.Rand) error {
	f, err := s.open(fsys, disk)
	if err != nil {
		return err
	}
	for range 6 {
		size := []int{0, 1, 100, 400, 500, 1200, 3000}[rng.IntN(7)] + rng.IntN(40)
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rng.Uint32())
		}
		s.mu.Lock()
		s.next = body
		s.mu.Unlock()
		if f == nil {
			f, err = statefile.Create(fsys, stateBase, stateKind, 1, [16]byte{1}, body)
		} else if err = f.Store(body); err == nil && rng.IntN(4) == 0 {
			f, err = statefile.Load(fsys, stateBase, stateKind, 1, [16]byte{1})
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.stored, s.next = body, nil
		s.mu.Unlock()
	}
	return nil
}

// open loads what an earlier life left, as its owner does.
func (s *stateFiles) open(fsys vfs.FS, disk *vfs.Mem) (*statefile.File, error) {
	s.mu.Lock()
	founded := s.stored != nil
	s.mu.Unlock()
	if !founded { // the owner starts over
		if err := vfs.RemoveAll(disk, "/dir"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, errors.Join(disk.Mkdir("/dir"), disk.SyncDir("/"))
	}
	f, err := statefile.Load(fsys, stateBase, stateKind, 1, [16]byte{1})
	if err == nil {
		err = f.Mend()
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored, s.next = f.Body(), nil
	return f, nil
}

func (s *stateFiles) now(copy func()) promise {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy()
	return &statePromise{stored: s.stored, next: s.next}
}

func (p *statePromise) key() uint64 { return uint64(len(p.stored))<<32 + uint64(len(p.next)) }

// statePromise is the state that was stored, and the one that was being stored.
type statePromise struct{ stored, next []byte }

// load loads and judges; nil: nothing was promised yet, and there is nothing.
func (p *statePromise) load(fsys vfs.FS) (*statefile.File, error) {
	f, err := statefile.Load(fsys, stateBase, stateKind, 1, [16]byte{1})
	switch {
	case err != nil && p.stored == nil:
		return nil, nil // the owner is founding: it starts over
	case err != nil:
		return nil, err
	}
	body := f.Body()
	if p.stored != nil && bytes.Equal(body, p.stored) || p.next != nil && bytes.Equal(body, p.next) {
		return f, nil
	}
	return nil, fmt.Errorf("%d bytes of sequence %d are neither what was stored nor what was being stored", len(body), f.Seq())
}

func (p *statePromise) read(fsys vfs.FS, _ bool) (string, error) {
	f, err := p.load(fsys)
	if f == nil {
		return "nothing", err
	}
	c := f.Copies()
	return string(strconv.AppendUint([]byte(c[0].State+" "+c[1].State), f.Seq(), 10)), nil
}

func (p *statePromise) judge(fsys vfs.FS, _ *vfs.Mem, _ bool, _ string) (string, error) {
	f, err := p.load(fsys)
	if f == nil {
		return "nothing", err
	}
	return fmt.Sprintf("sequence %d, %d bytes", f.Seq(), len(f.Body())), f.Mend()
}
