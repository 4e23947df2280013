package recovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// heldPart is the size at which a file of held frames is ended and the next begun.
const heldPart = 4 << 20

// heldMagic begins a file of held frames (docs/format/journal-frames.md).
const heldMagic = "CHRHELD1"

// holder copies frames of one partition from the journal into files of evidence/, so that the partition does not hold the journal.
type holder struct {
	fs    vfs.FS
	dir   string
	name  string // "topic-partition"
	k     key
	after wal.LSN

	buf   []byte
	first wal.LSN // in buf
	file  string  // the first file written
}

func (h *holder) add(f *wal.Frame) error {
	if f.ID != h.k.id || f.Partition != h.k.partition || f.LSN <= h.after {
		return nil
	}
	if len(h.buf) == 0 {
		h.buf = append(h.buf, heldMagic...)
		h.first = f.LSN
	}
	h.buf = AppendHeld(h.buf, f)
	if len(h.buf) >= heldPart {
		return h.write()
	}
	return nil
}

func (h *holder) write() error {
	if len(h.buf) == 0 {
		return nil
	}
	file, err := datadir.Evidence(h.fs, h.dir, fmt.Sprintf("held.%s.%x.%d", h.name, h.k.id[:4], h.first), h.buf)
	if h.file == "" {
		h.file = file
	}
	h.buf = h.buf[:0]
	return err
}

// AppendHeld appends one frame as a file of held frames has it.
func AppendHeld(b []byte, f *wal.Frame) []byte {
	be := binary.BigEndian
	at := len(b)
	b = be.AppendUint64(b, uint64(f.LSN))
	b = append(b, byte(f.Type), f.Flags)
	b = append(b, f.ID[:]...)
	b = be.AppendUint32(b, uint32(f.Partition))
	b = be.AppendUint32(b, uint32(f.Epoch))
	b = be.AppendUint64(b, uint64(f.First))
	b = be.AppendUint64(b, uint64(f.Last))
	b = be.AppendUint32(b, uint32(len(f.Payload)))
	b = append(b, f.Payload...)
	return be.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

const heldHead = 8 + 2 + 16 + 4 + 4 + 8 + 8 + 4

// ReadHeld calls fn for every frame of a file of held frames; payloads alias b.
func ReadHeld(b []byte, fn func(wal.Frame) error) error {
	if len(b) < len(heldMagic) || string(b[:len(heldMagic)]) != heldMagic {
		return fmt.Errorf("held frames: byte 0: %w", ErrFormat)
	}
	be := binary.BigEndian
	for at := len(heldMagic); at < len(b); {
		e := b[at:]
		if len(e) < heldHead+4 || uint64(be.Uint32(e[heldHead-4:])) > uint64(len(e)-heldHead-4) {
			return fmt.Errorf("held frames: byte %d: truncated", at)
		}
		n := int(be.Uint32(e[heldHead-4:]))
		if crc32.Checksum(e[:heldHead+n], castagnoli) != be.Uint32(e[heldHead+n:]) {
			return fmt.Errorf("held frames: byte %d: the CRC differs", at)
		}
		f := wal.Frame{
			LSN: wal.LSN(be.Uint64(e)), Type: wal.Type(e[8]), Flags: e[9], Partition: int32(be.Uint32(e[26:])), Epoch: int32(be.Uint32(e[30:])),
			First: int64(be.Uint64(e[34:])), Last: int64(be.Uint64(e[42:])), Payload: e[heldHead : heldHead+n : heldHead+n],
		}
		copy(f.ID[:], e[10:26])
		if err := fn(f); err != nil {
			return err
		}
		at += heldHead + n + 4
	}
	return nil
}

// filesOnly says that a partition stopped for what is wrong with its files alone: no frame of it is behind the checkpoint, so nothing needs
// to be held, and the next boot looks again: the files may have been restored.
func (p *part) filesOnly() bool {
	var damage *partition.DamageError
	return errors.As(p.stop, &damage) && p.listed && p.frames == 0 && !p.bereft && damage.Kind != partition.Gap
}

// hold copies the frames of the partitions that this boot stopped.
func (s *scan) hold() error {
	holders := map[key]*holder{}
	for _, p := range s.sorted() {
		if p.stop != nil && p.held == "" && p.st.Held == 0 && !p.dropped && !p.filesOnly() {
			name := partition.DirName(p.name, p.partition)
			holders[p.key] = &holder{fs: s.fs, dir: s.dir, name: name, k: p.key, after: p.st.LSN}
		}
	}
	if len(holders) == 0 {
		return nil
	}
	_, err := s.inspect(func(g *wal.Group) error {
		for i := range g.Frames {
			f := &g.Frames[i]
			if h := holders[key{f.ID, f.Partition}]; h != nil {
				if err := h.add(f); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for k, h := range holders {
		if err := h.write(); err != nil {
			return fmt.Errorf("recover %s: %w", s.dir, err)
		}
		s.parts[k].held, s.parts[k].heldLSN = h.file, max(s.inv.Highest, s.parts[k].st.LSN, 1)
	}
	return nil
}

// Hold copies the frames of a partition in (after, upTo] from a live journal to evidence/; it is partition.Env's Hold.
func Hold(fsys vfs.FS, dir string, dirID [16]byte, id partition.Identity, after, upTo wal.LSN) (file string, last wal.LSN, err error) {
	h := &holder{fs: fsys, dir: dir, name: partition.DirName(id.Topic, id.Partition), k: key{id.ID, id.Partition}, after: after}
	inv, err := wal.Inspect(wal.InspectOptions{FS: fsys, Dir: filepath.Join(dir, datadir.WalDir), DirID: dirID, Kind: wal.Journal}, func(g *wal.Group) error {
		for i := range g.Frames {
			if f := &g.Frames[i]; f.LSN <= upTo {
				if err := h.add(f); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = inv.Unreadable() // else frames would be missing from what is held
	}
	if err == nil {
		err = h.write()
	}
	if err != nil {
		return "", 0, fmt.Errorf("hold frames of %s: %w", h.name, err)
	}
	return h.file, upTo, nil
}
