package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"chronik.dev/chronik/broker/statefile"
)

// RebuildManifest makes a new manifest from what Inspect found by the chain of headers and footers, in place of one of which no copy can be used.
// What only the manifest can tell is not known any more: that a last segment is missing, and the cut of one whose footer was not written yet.
func RebuildManifest(o InspectOptions, inv *Inventory) error {
	switch {
	case inv.manifest != nil:
		return errors.New("rebuild manifest: there is one that can be used")
	case len(inv.Segments) == 0:
		return fmt.Errorf("rebuild manifest of %s: no segment is left", o.Dir)
	}
	m := manifest{kind: o.Kind}
	for i := range inv.Segments {
		s := &inv.Segments[i]
		m.segments = append(m.segments, manifestSegment{id: s.ID, generation: s.Generation, previous: s.Previous, first: s.FirstLSN, synced: s.LastLSN,
			resumed: s.resumed, end: s.foot})
		if s.Cut != nil {
			m.cuts = append(m.cuts, *s.Cut)
		}
	}
	for _, s := range inv.Spares {
		if s.Usable {
			m.spares = append(m.spares, s.Generation)
		}
	}
	base := filepath.Join(o.Dir, manifestName)
	for _, name := range statefile.Names(base) {
		if err := o.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rebuild manifest: %w", err)
		}
	}
	if _, err := statefile.Create(o.FS, base, manifestKind, manifestVersion, o.DirID, m.encode()); err != nil {
		return fmt.Errorf("rebuild manifest: %w", err)
	}
	return nil
}

// Renew makes a new, empty log in place of one of which no segment is left. What there is of it goes first. Its LSNs are above every one that was
// promised: a log counts frames from 1, and not a million a second on average since 1970, so the clock in microseconds is above all of them; known is
// the highest LSN that anything names. It returns the first LSN.
func Renew(o Options, known LSN) (LSN, error) {
	infos, err := o.FS.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("renew log: %w", err)
	}
	for _, info := range infos {
		if c := classify(info.Name()); c == fileOther || c == fileUnknown {
			continue
		}
		if err := o.FS.Remove(filepath.Join(o.Dir, info.Name())); err != nil {
			return 0, fmt.Errorf("renew log: %w", err)
		}
	}
	first := max(LSN(o.Now().UnixMicro()), known+1<<32)
	log, err := CreateAt(o, first)
	if err != nil {
		return 0, err
	}
	return first, log.Close()
}
