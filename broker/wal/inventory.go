package wal

import (
	"fmt"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// Verdict says what damage means for what was acknowledged.
type Verdict string

// The verdicts, the worst last.
const (
	Notice         Verdict = "notice"          // nothing of value was there; no decision is needed
	Torn           Verdict = "torn"            // an interrupted write past the floor: never acknowledged, may be cut after saving the bytes
	Undecided      Verdict = "undecided"       // past the floor, and not as an interrupted write leaves it: may have been acknowledged
	Corrupt        Verdict = "corrupt"         // below the floor: acknowledged. Never cut silently
	IOError        Verdict = "io-error"        // the disk answered an error: retry; never cut, never called corrupt
	UnknownVersion Verdict = "unknown-version" // written by another release; use that, or a newer one
)

// Reason says what is wrong. The list is closed.
type Reason string

// The reasons.
const (
	ReasonSector      Reason = "sector-check"     // a sector's content does not match its check
	ReasonHead        Reason = "group-head"       // a group's head and its copy are destroyed
	ReasonFields      Reason = "group-fields"     // valid checks around impossible fields
	ReasonChain       Reason = "chain"            // a group does not continue the one before it
	ReasonMissing     Reason = "groups-missing"   // promised groups are not there
	ReasonFrame       Reason = "frame"            // a frame contradicts its group's table
	ReasonFrameType   Reason = "frame-type"       // a frame type of another release
	ReasonVersion     Reason = "format-version"   // a format version of another release
	ReasonHeader      Reason = "segment-header"   // the segment's header is destroyed or contradicts its neighbours
	ReasonFile        Reason = "file-missing"     // a segment file is not there
	ReasonRolledBack  Reason = "file-rolled-back" // a segment file of an earlier use, or from before the groups that were promised
	ReasonShort       Reason = "file-short"       // a file ends before its promised end
	ReasonMisplaced   Reason = "file-misplaced"   // a file holds another segment than its name says
	ReasonDirectory   Reason = "other-directory"  // belongs to another data directory
	ReasonUnused      Reason = "unused-damaged"   // damage where nothing is stored
	ReasonMarker      Reason = "marker-damaged"   // a block that held only a marker
	ReasonManifest    Reason = "manifest"         // a copy of the manifest, or both
	ReasonUnfinished  Reason = "unfinished"       // left by a crash while a segment was made; holds nothing acknowledged
	ReasonUnknownFile Reason = "unknown-file"     // not one of ours
	ReasonRead        Reason = "read-failed"      // the disk does not read it

	ReasonHalfRepaired Reason = "repair-half-done" // a repair of the directory was interrupted; from the tools
)

// Finding is one damaged range.
type Finding struct {
	File       string     `json:"file"` // path
	Segment    uint64     `json:"segment,omitempty"`
	Offset     int64      `json:"offset"` // in the file, bytes
	Length     int64      `json:"length"` // bytes; 0 where nothing is there
	Record     string     `json:"record"` // the enclosing record: "group 17 at 8192", "segment header", ...
	Verdict    Verdict    `json:"verdict"`
	Reason     Reason     `json:"reason"`
	FirstLSN   LSN        `json:"firstLSN,omitempty"` // of the frames lost or damaged; 0: none
	LastLSN    LSN        `json:"lastLSN,omitempty"`
	Lost       []Identity `json:"lost,omitempty"`       // what is known of them
	Incomplete bool       `json:"incomplete,omitempty"` // frames are or may be lost that Lost cannot name
	Evidence   string     `json:"evidence"`             // one sentence: why this verdict
	Err        error      `json:"-"`                    // of an IOError
}

// Loses says whether frames are, or may be, lost.
func (f *Finding) Loses() bool { return len(f.Lost) > 0 || f.Incomplete }

// GroupKind says what a group is for.
type GroupKind uint8

// The kinds of group.
const (
	HeaderGroup GroupKind = 1 // first of a segment
	DataGroup   GroupKind = 2 // frames, written with one sync
	MarkerGroup GroupKind = 3 // repeats what is durable; holds nothing
	FooterGroup GroupKind = 4 // last of a segment, fills it
	FillGroup   GroupKind = 5 // a spare that was never used
)

// Head is what a group says of itself; its trailer holds a copy.
type Head struct {
	Kind       GroupKind
	Log        Kind
	Flags      uint16 // GroupMoved
	Generation uint64 // random, one per use of a segment file
	Segment    uint64
	Start      uint32 // block in the file
	Blocks     uint32
	Frames     uint32
	Ranges     uint32 // entries of the list that tells what the group before held
	FirstLSN   LSN    // of the first frame; of the next frame if there is none
	Synced     LSN    // every frame up to it was durable when the group was written
	Chain      uint32 // check of the group before
	Table      uint32 // CRC-32C of the tables
	Body       uint64 // payload bytes up to the end of the last frame
	Time       int64  // wall clock of the writer, ms
	Note       Note
}

// GroupMoved marks a data group whose frames were found past the floor of an earlier segment and moved by Resume, with their LSNs.
const GroupMoved = 1

// LastLSN is the LSN of the last frame; FirstLSN-1 if there is none.
func (h *Head) LastLSN() LSN { return h.FirstLSN + LSN(h.Frames) - 1 }

// Group is one data group as Inspect visits it. Frames and what they point to are valid only during the visit, but for Inventory.Tail.
type Group struct {
	Segment uint64
	File    string
	Offset  int64 // in the file, bytes
	Size    int64
	Head    Head
	Frames  []Frame // the intact ones
	Damaged []Identity
	Finding *Finding // nil: intact
	Tail    bool     // past the floor and accepted: Resume moves it
}

// InspectOptions say what to read. Nothing is changed.
type InspectOptions struct {
	FS        vfs.FS
	Dir       string
	DirID     [16]byte // zero: not checked
	Kind      Kind
	MinSynced LSN  // durable by what is kept elsewhere (checkpoint, HardState)
	Deep      bool // also reads spares
	// Progress is told how many bytes were read since the last call; may be nil.
	Progress func(bytes int64)
	// Expect is told once, before anything is read, about how many bytes it will be; may be nil.
	Expect func(bytes int64)
}

// SegmentInfo describes a live segment.
type SegmentInfo struct {
	ID         uint64
	File       string
	Size       int64 // of the file, bytes
	Generation uint64
	Previous   uint64 // generation of the file's use before; 0: the file was new
	FirstLSN   LSN    // of the first frame that is, or will be, in it
	LastLSN    LSN    // of the last frame read; FirstLSN-1: none
	End        int64  // byte after the last group
	Sealed     bool   // has a footer
	Full       bool   // filled to its end without damage: may be recycled
	Growing    bool   // not prewritten
	Groups     int
	Frames     int64
	FirstTime  int64 // ms, of data groups
	LastTime   int64
	Cut        *Cut // ends at a cut

	missing bool   // the manifest lists it, and its file is not there
	chain   uint32 // check of the last group
	resumed bool
	foot    uint32  // block of its footer
	sealAt  uint32  // where Resume writes the footer that a crash kept from being written
	ranges  []Range // what it holds, if it has no footer
	rest    int64   // bytes behind its footer that a crash kept from being cut off
}

// SpareInfo describes a file that holds nothing live: a spare, or what a crash left behind.
type SpareInfo struct {
	File       string
	Size       int64
	Generation uint64
	Usable     bool   // can be used as it is; else Resume removes it
	Why        string // what it is
}

// Cut is a recorded end of a segment: what was past it is not part of the log.
type Cut struct {
	Segment  uint64 `json:"segment"`
	Block    uint32 `json:"block"` // first block that does not count
	First    LSN    `json:"first"` // LSNs in [First, Resume) are void, but for frames that were moved
	Resume   LSN    `json:"resume"`
	Time     int64  `json:"time"` // ms
	Lost     uint32 `json:"lost"` // frames known to be lost
	Incident string `json:"incident"`
	Finished bool   `json:"finished"` // the segment has its footer
}

// Inventory is what Inspect found.
type Inventory struct {
	Kind     Kind
	Segments []SegmentInfo // live, in order
	Spares   []SpareInfo
	Unknown  []string // files that are not ours, paths
	Manifest [2]statefile.Copy
	Cuts     []Cut
	Findings []Finding
	Floor    LSN    // everything up to it was promised durable
	First    LSN    // first LSN that is live
	Freed    LSN    // last LSN that FreeBelow gave back, as the first segment's header says; 0: none, or not known
	Last     LSN    // last LSN that is part of the log: intact, or lost to damage that is reported
	Highest  LSN    // highest LSN seen, valid or not; Resume continues above it
	Tail     *Group // accepted group past the floor, its own copy; nil if there is none
	Clean    bool   // no findings but notices
	Changed  bool   // a file went away meanwhile: a node is running on the directory
	Bytes    int64  // read
	Read     time.Duration

	manifest *manifest
	maxID    uint64
	note     Note // of the last group
	reserve  bool
	end      logEnd
}

// logEnd is where Resume ends the last segment.
type logEnd struct {
	block      uint32
	chain      uint32     // check of the last group before it
	last       LSN        // of the last frame before it
	first      LSN        // first LSN that is void if there is a cut
	lost       []Identity // of a torn or undecided group
	unreadable bool       // the disk does not read the end of the log
}

// CutNote is kept with a cut.
type CutNote struct {
	Incident string // id in the ledger, at most 256 bytes
	// GiveUp is for a repair, never for a node: newest segments whose files are not there are given up. The log goes on above every LSN that they
	// can have held.
	GiveUp bool
}

// Unreadable returns an error that names the first place that the disk did not read, nil if it read all of it.
func (inv *Inventory) Unreadable() error {
	for i := range inv.Findings {
		if f := &inv.Findings[i]; f.Verdict == IOError {
			return fmt.Errorf("%s byte %d: %s: %w", f.File, f.Offset, f.Evidence, f.Err)
		}
	}
	return nil
}

// EndMissing returns the file of the first of the newest segments that are not there; empty: the newest is there. Resume refuses such a log
// without CutNote.GiveUp: what was in them is not known.
func (inv *Inventory) EndMissing() (file string) {
	for i := len(inv.Segments) - 1; i >= 0 && inv.Segments[i].missing; i-- {
		file = inv.Segments[i].File
	}
	return file
}

// giveUp takes newest segments that are not there out of the log, which then ends with what is left, if anything.
func (inv *Inventory) giveUp() {
	for n := len(inv.Segments); n > 0 && inv.Segments[n-1].missing; n-- {
		inv.Segments = inv.Segments[:n-1]
		inv.end = logEnd{}
		if n > 1 {
			s := &inv.Segments[n-2]
			inv.end = logEnd{block: uint32(s.End / BlockSize), chain: s.chain, last: s.LastLSN, first: s.LastLSN + 1}
		}
	}
}

// Worst returns the worst verdict among the findings; Notice if there are none.
func (inv *Inventory) Worst() Verdict {
	order := []Verdict{Notice, Torn, Undecided, Corrupt, IOError, UnknownVersion}
	worst := 0
	for i := range inv.Findings {
		for j, v := range order {
			if v == inv.Findings[i].Verdict {
				worst = max(worst, j)
			}
		}
	}
	return order[worst]
}
