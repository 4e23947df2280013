package vfs

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// States are the disks that a power loss at one moment can leave. They are made one by one, from the units that matter: of a fragment that is
// written as it was before (zeros behind zeros) it makes no difference whether it is kept.
type States struct {
	m     *Mem
	units []uint64 // by seq
	at    map[uint64]int
	file  []bool // the unit is a fragment
	sums  map[*node]*nodeSum
}

// nodeSum is what is known of a file's content without its pending units.
type nodeSum struct {
	pages []uint64
	fresh []bool // pages that no pending unit touches
}

// States copies the disk as it is now, with all that is pending.
func (m *Mem) States() *States {
	s := &States{m: m.Kill(), at: map[uint64]int{}, sums: map[*node]*nodeSum{}}
	fragment := map[uint64]bool{}
	for n := range s.m.dirty {
		for i, u := range n.pending {
			if n.moves(i) {
				s.units = append(s.units, u.seq)
				fragment[u.seq] = u.data != nil
			}
		}
	}
	for _, op := range s.m.dirops {
		s.units = append(s.units, op.seq)
	}
	slices.Sort(s.units)
	for i, seq := range s.units {
		s.at[seq] = i
		s.file = append(s.file, fragment[seq])
	}
	return s
}

// moves says whether pending unit i makes a difference, with whatever other units: not if it writes what the disk has.
func (n *node) moves(i int) bool {
	u := &n.pending[i]
	if u.data == nil {
		return true
	}
	for j := range n.pending {
		if o := &n.pending[j]; j != i && o.data != nil && o.at == u.at || o.data == nil && o.size < o.at {
			return true
		}
	}
	var was [Fragment]byte
	n.disk.readAt(was[:], u.at)
	return !bytes.Equal(was[:], u.data)
}

// Same says whether these are the states of another moment of the same disk: nothing was written or made durable between the two.
func (s *States) Same(o *States) bool {
	return o != nil && s.m.seq == o.m.seq && slices.Equal(s.units, o.units)
}

// Units is how many units there are.
func (s *States) Units() int { return len(s.units) }

// Fragment says whether a unit is a fragment of a file: not a size, not a change of names.
func (s *States) Fragment(unit int) bool { return s.file[unit] }

// Rough is what a power loss does beside keeping units or losing them.
type Rough struct {
	Torn  int    // one more than the unit, a fragment that is kept, which is written only up to a byte inside it; 0: none
	Bytes int    // of it that are written
	Stale []byte // lost fragments behind the durable end of a file hold these bytes, not zeros: what the blocks had in an earlier file
}

// Image makes the disk on which exactly the units are kept for which keep says so. It is durable as it is and without a hook, and shares what it can
// with the others until it is written to.
func (s *States) Image(keep func(unit int) bool, rough Rough) *Mem {
	c := chooser{images: true, keep: func(_ *node, seq uint64) bool {
		i, ok := s.at[seq]
		return ok && keep(i)
	}}
	if rough.Torn > 0 {
		c.tear, c.tornBytes = s.units[rough.Torn-1], rough.Bytes
	}
	c.stale = rough.Stale
	return s.m.clone(c, 1)
}

var sumSeed = maphash.MakeSeed()

// Sum is a hash of all names, sizes and bytes of a disk that Image made and nobody has changed yet.
func (s *States) Sum(image *Mem) uint64 { return s.sum(image.root, "") }

func (s *States) sum(n *node, name string) uint64 {
	h := maphash.String(sumSeed, name) * 0x9e3779b97f4a7c15
	if n.dir {
		for child, c := range n.entries {
			h += s.sum(c, name+"/"+child)
		}
		return h
	}
	h ^= uint64(n.disk.size) * 0xff51afd7ed558ccd
	base := s.base(n)
	for i, p := range n.disk.pages {
		switch {
		case p == nil:
		case base != nil && i < len(base.fresh) && base.fresh[i]:
			h += base.pages[i]
		default:
			h += pageSum(p, i)
		}
	}
	return h * 0x94d049bb133111eb
}

// base returns the sums of the pages of a file that every image shares.
func (s *States) base(n *node) *nodeSum {
	origin := n.origin
	if origin == nil {
		return nil
	}
	if known := s.sums[origin]; known != nil {
		return known
	}
	pages := origin.disk.pages
	out := &nodeSum{pages: make([]uint64, len(pages)), fresh: make([]bool, len(pages))}
	for i, p := range pages {
		if out.fresh[i] = p != nil; p != nil {
			out.pages[i] = pageSum(p, i)
		}
	}
	for _, u := range origin.pending {
		if u.data == nil { // a size can zero any page behind it
			for i := range out.fresh {
				out.fresh[i] = out.fresh[i] && int64(i+1)*Block <= min(u.size, u.at)
			}
		} else if i := u.at / Block; int(i) < len(out.fresh) {
			out.fresh[i] = false
		}
	}
	s.sums[origin] = out
	return out
}

func pageSum(p *page, i int) uint64 {
	if allZero(p.b[:]) {
		return 0
	}
	return maphash.Bytes(sumSeed, p.b[:]) * (uint64(i)*2 + 3)
}
