package vfs

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
)

// Mode says which pending units a crash keeps.
type Mode uint8

// The modes of CrashMode. In each a lost size or fragment leaves what was durable, or zeros where the file has grown.
const (
	Random  Mode = iota // each unit by one probability, drawn anew for each crash
	ByFile              // each unit by a probability drawn for its file: some files written back, others not
	Prefix              // the units up to a point in time
	None                // nothing that is not durable
	All                 // everything
	OneLost             // everything but one unit
	OneKept             // nothing but one unit
	Torn                // as Random, and one fragment that is kept is written only up to a byte inside it (no device should)
)

var modeNames = [...]string{"random", "by-file", "prefix", "none", "all", "one-lost", "one-kept", "torn"}

func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode%d", uint8(m))
}

// CrashModes are the modes that a device which keeps its word can produce, as often as CrashClone draws them.
var CrashModes = []Mode{Random, Random, Random, Random, ByFile, ByFile, ByFile, Prefix, Prefix, None, All, OneLost, OneKept}

// chooser decides about each unit of one crash. n is nil for entries.
type chooser struct {
	keep func(n *node, seq uint64) bool
	rng  *rand.Rand // nil: every kept unit is kept as it is
	torn uint64     // the fragment to tear, by seq

	tear      uint64 // as torn, without rng
	tornBytes int
	stale     []byte // Rough.Stale
	images    bool   // for States.Image
}

// CrashClone returns the disk as a power loss at this moment would leave it: each pending fragment, size and change of entries is kept or
// lost by a mode drawn from CrashModes; of a growing file a size between the old and the new may be left. rng nil uses the disk's own.
// The disk itself stays as it is. The clone has everything durable, no locks and no hook.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	if rng == nil {
		rng = m.rng
	}
	return m.CrashMode(rng, CrashModes[rng.IntN(len(CrashModes))])
}

// CrashMode is CrashClone with a given mode.
func (m *Mem) CrashMode(rng *rand.Rand, mode Mode) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := chooser{rng: rng, keep: func(*node, uint64) bool { return mode == All }}
	switch mode {
	case None, All:
		c.rng = nil
	case Random, Torn:
		p := rng.Float64()
		c.keep = func(*node, uint64) bool { return rng.Float64() < p }
		if seqs := m.pendingSeqs(mode == Torn); mode == Torn && len(seqs) > 0 {
			c.torn = seqs[rng.IntN(len(seqs))]
		}
	case ByFile:
		var last *node
		p := rng.Float64()
		c.keep = func(n *node, _ uint64) bool {
			if n != last {
				last, p = n, rng.Float64()*1.5-0.25
			}
			return rng.Float64() < p
		}
	case Prefix, OneLost, OneKept:
		seqs := m.pendingSeqs(false)
		if len(seqs) == 0 {
			break
		}
		s := seqs[rng.IntN(len(seqs))]
		switch mode {
		case Prefix:
			c.keep = func(_ *node, seq uint64) bool { return seq <= s }
		case OneLost:
			c.keep, c.rng = func(_ *node, seq uint64) bool { return seq != s }, nil
		default:
			c.keep, c.rng = func(_ *node, seq uint64) bool { return seq == s }, nil
		}
	}
	return m.clone(c, rng.Uint64())
}

// Unsynced counts the pending units.
func (m *Mem) Unsynced() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pendingSeqs(false))
}

// EachCrash calls fn with every disk that a power loss at this moment could leave, one per subset of the pending units. If there are more than
// limit units (at most 20) it calls nothing and answers false.
func (m *Mem) EachCrash(limit int, fn func(*Mem) error) (done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seqs := m.pendingSeqs(false)
	if len(seqs) > min(limit, 20) {
		return false, nil
	}
	bit := make(map[uint64]uint, len(seqs))
	for i, s := range seqs {
		bit[s] = uint(i)
	}
	for set := range uint64(1) << len(seqs) {
		c := m.clone(chooser{keep: func(_ *node, seq uint64) bool { return set>>bit[seq]&1 == 1 }}, set)
		m.mu.Unlock()
		err := fn(c)
		m.mu.Lock()
		if err != nil {
			return true, fmt.Errorf("units kept %0*b: %w", len(seqs), set, err)
		}
	}
	return true, nil
}

// Kill returns the disk as kill -9 leaves it: the process and its locks are gone, everything written is there, and what was pending still is,
// so a power loss can follow.
func (m *Mem) Kill() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := newMem(rand.New(rand.NewPCG(m.seq, 1)))
	out.seq, out.nodes, out.used, out.limit, out.noDirect = m.seq, m.nodes, m.used, m.limit, m.noDirect
	twin := map[*node]*node{}
	var copyOf func(n *node) *node
	copyOf = func(n *node) *node {
		if n == nil {
			return nil
		}
		if t := twin[n]; t != nil {
			return t
		}
		t := &node{id: n.id, dir: n.dir, touched: n.touched}
		twin[n] = t
		if n.dir {
			t.entries, t.stable = make(map[string]*node, len(n.entries)), make(map[string]*node, len(n.stable))
			for name, c := range n.entries {
				t.entries[name] = copyOf(c)
			}
			for name, c := range n.stable {
				t.stable[name] = copyOf(c)
			}
			return t
		}
		t.cur, t.disk, t.pending = n.cur.share(), n.disk.share(), slices.Clone(n.pending)
		if len(t.pending) > 0 {
			out.dirty[t] = struct{}{}
		}
		return t
	}
	out.root = copyOf(m.root)
	for _, op := range m.dirops {
		sets := slices.Clone(op.sets)
		for i := range sets {
			sets[i].dir, sets[i].to = copyOf(sets[i].dir), copyOf(sets[i].to)
		}
		out.dirops = append(out.dirops, dirop{seq: op.seq, sets: sets})
	}
	return out
}

// pendingSeqs lists the pending units in order; fragments only, if so asked.
func (m *Mem) pendingSeqs(fragments bool) []uint64 {
	var seqs []uint64
	for n := range m.dirty {
		for _, u := range n.pending {
			if !fragments || u.data != nil {
				seqs = append(seqs, u.seq)
			}
		}
	}
	if !fragments {
		for _, op := range m.dirops {
			seqs = append(seqs, op.seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}

// clone builds the disk that the chooser leaves. The order of its calls depends on the calls made to m only.
func (m *Mem) clone(c chooser, seed uint64) *Mem {
	out := newMem(rand.New(rand.NewPCG(seed, 2)))
	out.seq, out.nodes, out.limit, out.noDirect = m.seq, m.nodes, m.limit, m.noDirect
	dirty := slices.SortedFunc(maps.Keys(m.dirty), func(a, b *node) int { return int(int64(a.id) - int64(b.id)) })
	left := make(map[*node]*content, len(dirty))
	for _, n := range dirty {
		k := n.disk.share()
		if c.stale != nil {
			c.soil(n, &k)
		}
		for _, u := range n.pending {
			if c.keep(n, u.seq) {
				k.apply(c.bend(u, &k))
			}
		}
		k.truncate(k.size)
		left[n] = &k
	}
	entries := map[*node]map[string]*node{} // of directories that a kept change touches
	for _, op := range m.dirops {
		if !c.keep(nil, op.seq) {
			continue
		}
		for _, s := range op.sets {
			if entries[s.dir] == nil {
				entries[s.dir] = maps.Clone(s.dir.stable)
			}
			setEntry(entries[s.dir], s)
		}
	}
	twin := map[*node]*node{}
	var build func(n *node) *node
	build = func(n *node) *node {
		if t := twin[n]; t != nil {
			return t
		}
		t := &node{id: n.id, dir: n.dir, touched: n.touched}
		if c.images {
			t.origin = n
		}
		twin[n] = t
		if n.dir {
			from := entries[n]
			if from == nil {
				from = n.stable
			}
			t.entries, t.stable = make(map[string]*node, len(from)), make(map[string]*node, len(from))
			for name, child := range from {
				b := build(child)
				t.entries[name], t.stable[name] = b, b
			}
			return t
		}
		if k := left[n]; k != nil {
			t.disk = *k
		} else {
			t.disk = n.disk.share()
		}
		t.cur = t.disk.share()
		out.used += t.cur.size
		return t
	}
	out.root = build(m.root)
	return out
}

// bend changes a kept unit as a crash may: a growth stops half-way, a fragment is torn.
func (c *chooser) bend(u unit, k *content) unit {
	switch {
	case c.tear != 0 && u.seq == c.tear:
		torn := make([]byte, Fragment)
		k.readAt(torn, u.at)
		copy(torn, u.data[:c.tornBytes])
		u.data = torn
	case c.rng == nil:
	case u.data == nil && u.size > u.at && c.rng.IntN(4) == 0:
		u.size = u.at + c.rng.Int64N(u.size-u.at)
		if c.rng.IntN(2) == 0 {
			u.size = max(u.at, u.size/Fragment*Fragment)
		}
	case u.data != nil && u.seq == c.torn:
		torn := make([]byte, Fragment)
		k.readAt(torn, u.at)
		copy(torn, u.data[:1+c.rng.IntN(Fragment-1)])
		u.data = torn
	}
	return u
}

// soil puts stale bytes where pending fragments lie behind the durable end of a file; those that are kept come over them.
func (c *chooser) soil(n *node, k *content) {
	for _, u := range n.pending {
		if u.data != nil && u.at >= n.disk.size {
			k.writeAt(c.stale[:Fragment], u.at)
		}
	}
}

// Bytes returns a copy of a file's content as a process reads it.
func (m *Mem) Bytes(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.file(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n.cur.size)
	n.cur.readAt(b, 0)
	return b, nil
}

// SetBytes replaces a file's content, made durable, behind everyone's back: damage at rest. The file must exist.
func (m *Mem) SetBytes(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.file(name)
	if err != nil {
		return err
	}
	m.used += int64(len(data)) - n.cur.size
	for _, c := range []*content{&n.cur, &n.disk} {
		c.truncate(0)
		c.writeAt(data, 0)
		c.size = int64(len(data))
	}
	m.settle(n, n.pending[:0])
	return nil
}

// Flip inverts the bits of mask in one byte of a file, durably: bit rot.
func (m *Mem) Flip(name string, off int64, mask byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.file(name)
	if err != nil {
		return err
	}
	if off < 0 || off >= n.cur.size {
		return &fs.PathError{Op: "flip", Path: name, Err: syscall.EINVAL}
	}
	for _, c := range []*content{&n.cur, &n.disk} {
		var b [1]byte
		c.readAt(b[:], off)
		b[0] ^= mask
		c.writeAt(b[:], off)
	}
	return nil
}

func (m *Mem) file(name string) (*node, error) {
	n, err := m.lookup(name)
	if err == nil && n.dir {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, &fs.PathError{Op: "bytes", Path: name, Err: err}
	}
	return n, nil
}

// Files lists the names of all files, sorted.
func (m *Mem) Files() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	var walk func(prefix string, n *node)
	walk = func(prefix string, n *node) {
		for name, c := range n.entries {
			if c.dir {
				walk(prefix+name+"/", c)
			} else {
				names = append(names, filepath.FromSlash(prefix+name))
			}
		}
	}
	walk("/", m.root)
	sort.Strings(names)
	return names
}

// String lists files and sizes, for failure messages.
func (m *Mem) String() string {
	var b strings.Builder
	for _, name := range m.Files() {
		data, err := m.Bytes(name)
		fmt.Fprintf(&b, "%s %d", name, len(data))
		if err != nil {
			fmt.Fprintf(&b, " (%v)", err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
