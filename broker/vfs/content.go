package vfs

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// Fragment is the unit in bytes that a power loss keeps or loses as a whole in Mem: a disk sector.
const Fragment = 512

// content is a file's bytes in pages that several contents share until one writes. A nil page is zeros.
type content struct {
	pages []*page
	size  int64
	owner uint64 // pages that carry another number are shared and copied before a write
}

type page struct {
	owner uint64
	b     [Block]byte
}

var owners atomic.Uint64

// share returns a content with the same bytes; both copy a page before they next change it.
func (c *content) share() content {
	c.owner = owners.Add(1)
	return content{pages: slices.Clone(c.pages), size: c.size, owner: owners.Add(1)}
}

// writable returns page i for writing. Bytes past the size are kept zero by truncate.
func (c *content) writable(i int) *page {
	if i >= len(c.pages) {
		c.pages = append(c.pages, make([]*page, i+1-len(c.pages))...)
	}
	p := c.pages[i]
	switch {
	case p == nil:
		p = &page{owner: c.owner}
		c.pages[i] = p
	case p.owner != c.owner:
		q := &page{owner: c.owner, b: p.b}
		c.pages[i], p = q, q
	}
	return p
}

// writeAt puts p at off without looking at the size.
func (c *content) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		at := int(off % Block)
		if n := min(len(p), Block-at); c.hole(off) && allZero(p[:n]) {
			p, off = p[n:], off+int64(n)
			continue
		}
		n := copy(c.writable(int(off / Block)).b[at:], p)
		p, off = p[n:], off+int64(n)
	}
}

// hole says whether the page at off was never written.
func (c *content) hole(off int64) bool {
	i := off / Block
	return i >= int64(len(c.pages)) || c.pages[i] == nil
}

// readAt fills p from off; the caller has checked the size.
func (c *content) readAt(p []byte, off int64) {
	for len(p) > 0 {
		at := int(off % Block)
		n := min(len(p), Block-at)
		if i := int(off / Block); i < len(c.pages) && c.pages[i] != nil {
			copy(p[:n], c.pages[i].b[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// truncate sets the size and zeros everything past it, also what was written past the old size.
func (c *content) truncate(size int64) {
	c.size = size
	keep := int((size + Block - 1) / Block)
	if keep < len(c.pages) {
		clear(c.pages[keep:])
		c.pages = c.pages[:keep]
	}
	if at := size % Block; at != 0 && keep <= len(c.pages) && c.pages[keep-1] != nil {
		tail := c.pages[keep-1].b[at:]
		if !allZero(tail) {
			clear(c.writable(keep - 1).b[at:])
		}
	}
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
