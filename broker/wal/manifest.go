package wal

import (
	"errors"
	"fmt"
	"path/filepath"

	"chronik.dev/chronik/broker/statefile"
)

const (
	manifestName    = "manifest"
	manifestVersion = 1
	maxIncident     = 256
)

var manifestKind = [4]byte{'W', 'M', 'A', 'N'}

// manifest is the body of the state file "manifest": what the directory must hold. Segments that are not in it and that the chain of headers
// reaches are live too; it is written in the background after a roll.
type manifest struct {
	kind     Kind
	segments []manifestSegment // live, ascending ids
	spares   []uint64          // generations of the coming spares, in order
	cuts     []Cut
}

type manifestSegment struct {
	id         uint64
	generation uint64
	previous   uint64
	first      LSN    // of the first frame that is, or will be, in it
	synced     LSN    // at least this was durable in it or before it
	resumed    bool   // began at a Resume
	end        uint32 // block of its footer; 0: it had none yet
}

func (m *manifest) segment(id uint64) *manifestSegment {
	for i := range m.segments {
		if m.segments[i].id == id {
			return &m.segments[i]
		}
	}
	return nil
}

// footer returns the block where the footer of a segment is durable, 0 if that is not known.
func (m *manifest) footer(segment uint64) uint32 {
	if m == nil {
		return 0
	}
	if s := m.segment(segment); s != nil {
		return s.end
	}
	return 0
}

// cut returns the cut that ends a segment.
func (m *manifest) cut(segment uint64) *Cut {
	if m == nil {
		return nil
	}
	for i := range m.cuts {
		if m.cuts[i].Segment == segment {
			return &m.cuts[i]
		}
	}
	return nil
}

// counts says whether a cut still says something of a log that begins with a segment: it ends one of its segments, or it voids LSNs behind frames that
// were moved into the first, which a checkpoint may have taken for durable.
func (c *Cut) counts(first *liveSegment) bool { return c.Segment >= first.id || c.Resume > first.first }

func (m *manifest) encode() []byte {
	b := []byte{byte(m.kind), 0, 0, 0}
	b = le.AppendUint32(b, uint32(len(m.segments)))
	b = le.AppendUint32(b, uint32(len(m.spares)))
	b = le.AppendUint32(b, uint32(len(m.cuts)))
	for _, s := range m.segments {
		b = le.AppendUint64(b, s.id)
		b = le.AppendUint64(b, s.generation)
		b = le.AppendUint64(b, s.previous)
		b = le.AppendUint64(b, uint64(s.first))
		b = le.AppendUint64(b, uint64(s.synced))
		b = le.AppendUint32(b, bit(s.resumed))
		b = le.AppendUint32(b, s.end)
	}
	for _, g := range m.spares {
		b = le.AppendUint64(b, g)
	}
	for i := range m.cuts {
		b = appendCut(b, &m.cuts[i])
	}
	return b
}

func bit(set bool) uint32 {
	if set {
		return 1
	}
	return 0
}

func appendCut(b []byte, c *Cut) []byte {
	b = le.AppendUint64(b, c.Segment)
	b = le.AppendUint32(b, c.Block)
	b = le.AppendUint64(b, uint64(c.First))
	b = le.AppendUint64(b, uint64(c.Resume))
	b = le.AppendUint64(b, uint64(c.Time))
	b = le.AppendUint32(b, c.Lost)
	b = le.AppendUint32(b, uint32(len(c.Incident)))
	return append(b, c.Incident...)
}

func (d *reader) cut() Cut {
	c := Cut{Segment: d.u64(), Block: d.u32(), First: LSN(d.u64()), Resume: LSN(d.u64()), Time: int64(d.u64()), Lost: d.u32()}
	if n := d.u32(); n <= maxIncident {
		c.Incident = string(d.take(int(n)))
	} else {
		d.bad = true
	}
	return c
}

// reader takes fields off a buffer; bad is set when it ends too early, and everything is zero from then on.
type reader struct {
	b   []byte
	bad bool
}

var zeros [64]byte

func (d *reader) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return zeros[:min(n, len(zeros))]
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *reader) u32() uint32 { return le.Uint32(d.take(4)) }
func (d *reader) u64() uint64 { return le.Uint64(d.take(8)) }

var errManifestBody = errors.New("the manifest's body is malformed although its CRC is right")

func decodeManifest(b []byte) (*manifest, error) {
	d := reader{b: b}
	m := &manifest{kind: Kind(d.take(4)[0])}
	segments, spares, cuts := int(d.u32()), int(d.u32()), int(d.u32())
	if segments > len(b)/48 || spares > len(b)/8 || cuts > len(b)/44 {
		return nil, errManifestBody
	}
	for range segments {
		m.segments = append(m.segments, manifestSegment{id: d.u64(), generation: d.u64(), previous: d.u64(), first: LSN(d.u64()),
			synced: LSN(d.u64()), resumed: d.u32() == 1, end: d.u32()})
	}
	for range spares {
		m.spares = append(m.spares, d.u64())
	}
	for range cuts {
		m.cuts = append(m.cuts, d.cut())
	}
	if d.bad || len(d.b) != 0 {
		return nil, errManifestBody
	}
	for i := 1; i < len(m.segments); i++ {
		if m.segments[i].id <= m.segments[i-1].id {
			return nil, errManifestBody
		}
	}
	return m, nil
}

// loadManifest reads the manifest. The errors are statefile's, and one of a malformed body or of another kind of log.
func loadManifest(o *InspectOptions) (*manifest, *statefile.File, error) {
	f, err := statefile.Load(o.FS, filepath.Join(o.Dir, manifestName), manifestKind, manifestVersion, o.DirID)
	if err != nil {
		return nil, nil, err
	}
	m, err := decodeManifest(f.Body())
	if err == nil && m.kind != o.Kind {
		err = fmt.Errorf("the manifest is of a %s log, not of a %s log", m.kind, o.Kind)
	}
	if err != nil {
		return nil, f, err
	}
	return m, f, nil
}
