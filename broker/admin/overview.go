package admin

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// States of a process.
const (
	Recovering = "recovering" // the data directory is being opened
	Serving    = "serving"
	Waiting    = "waiting" // the node is open, but not ready: it is starting or stopping
	Failed     = "failed"  // restart it
)

// Overview is what there is to know at a glance.
type Overview struct {
	Time       int64          `json:"time"` // ms since 1970
	Version    string         `json:"version"`
	State      string         `json:"state"`
	Health     Health         `json:"health"`
	Remarks    []Remark       `json:"remarks"` // the first is the verdict; the gravest first
	Boot       *Boot          `json:"boot,omitempty"`
	Node       *Snapshot      `json:"node,omitempty"` // nil while recovering
	Topics     int            `json:"topics"`
	Partitions PartitionCount `json:"partitions"`
	Groups     GroupCount     `json:"groups"`
	DiskFullIn float64        `json:"disk_full_seconds"` // at the pace of the last ten minutes; -1 = not in sight
	Process    Process        `json:"process"`
}

// PartitionCount counts partitions by state.
type PartitionCount struct {
	Online  int      `json:"online"`
	Stopped int      `json:"stopped"`
	Which   []string `json:"which,omitempty"` // names of stopped ones, ten at most
}

// GroupCount counts groups.
type GroupCount struct {
	States map[string]int `json:"states"`
	Total  int            `json:"total"`
	Lag    int64          `json:"lag"`             // records, all groups together
	Error  string         `json:"error,omitempty"` // why they are not known
}

// Process is the operating system's view of the node, -1 where it does not say.
type Process struct {
	ResidentBytes int64   `json:"resident_memory_bytes"`
	HeapBytes     int64   `json:"heap_bytes"` // live and dead objects of Go
	CPUSeconds    float64 `json:"cpu_seconds"`
	OpenFiles     int64   `json:"open_fds"`
	Goroutines    int64   `json:"goroutines"`
}

// Boot says how far the process is before it has a node. Bytes are of the journal.
type Boot struct {
	Stage      string  `json:"stage"` // raft, survey, replay, open
	Done       int64   `json:"done_bytes"`
	Total      int64   `json:"total_bytes"`
	Seconds    float64 `json:"seconds"`       // since the start
	InStage    float64 `json:"stage_seconds"` // since the stage began
	Percent    float64 `json:"percent"`       // of the reading: the journal is read twice, to judge it and to replay it
	ETASeconds float64 `json:"eta_seconds"`   // -1 = unknown
}

// Estimate fills in Percent and ETASeconds from the other fields.
func (b *Boot) Estimate() {
	share, left := 0.0, int64(0)
	if b.Total > 0 {
		share, left = float64(b.Done)/float64(b.Total), b.Total-b.Done
	}
	b.ETASeconds = -1
	switch b.Stage {
	case "survey":
		b.Percent, left = 50*share, left+b.Total
	case "replay":
		b.Percent = 50 + 50*share
	case "open":
		b.Percent = 100
		return
	default:
		return
	}
	if b.Done > 0 && b.InStage > 0 {
		b.ETASeconds = float64(left) / (float64(b.Done) / b.InStage)
	}
}

// Level of a remark.
type Level string

// The levels, the gravest first.
const (
	Bad  Level = "bad"  // data is not served, or soon will not be
	Warn Level = "warn" // somebody should look today
	Note Level = "note"
	Fine Level = "ok"
)

// Remark is a sentence about the node, with what to do next where there is something.
type Remark struct {
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Next  string `json:"next,omitempty"`
}

// Limits of the verdict.
const (
	behindRecords = 1000                   // lag from which a group that does not catch up is worth a remark
	slowSync      = 100 * time.Millisecond // p99
	nearCap       = 0.9
)

// judge writes the remarks of an overview: complete sentences, the gravest first, at least one.
func judge(o *Overview, groups []GroupRow, newest *Sample, command string) []Remark {
	var all []Remark
	say := func(l Level, next, format string, a ...any) {
		all = append(all, Remark{Level: l, Text: fmt.Sprintf(format, a...), Next: next})
	}
	for _, r := range o.Health.Reasons {
		switch o.State {
		case Failed:
			say(Bad, command, "The node has failed: %s.", strings.TrimSuffix(r, "."))
		case Waiting, Serving:
			say(Warn, "", "%s.", upper(strings.TrimSuffix(r, ".")))
		}
	}
	if o.State == Failed && len(all) == 0 {
		say(Bad, command, "The node has failed.")
	}
	if b := o.Boot; b != nil {
		say(Note, "", "%s", b.sentence())
	}
	if p := o.Partitions; p.Stopped > 0 {
		verb := "are stopped by damage and serve"
		if p.Stopped == 1 {
			verb = "is stopped by damage and serves"
		}
		say(Bad, command, "%d of %d partitions %s nothing: %s.", p.Stopped, p.Stopped+p.Online, verb, enumerate(p.Which, p.Stopped))
	}
	if n := o.Node; n != nil {
		judgeDisk(o, say)
		if n.Journal.MaxBytes > 0 && float64(n.Journal.LiveBytes) >= nearCap*float64(n.Journal.MaxBytes) {
			say(Warn, "", "Producers wait or soon will: the journal is at %d %% of its cap, and a checkpoint has to make room.", 100*n.Journal.LiveBytes/n.Journal.MaxBytes)
		}
		if newest != nil && newest.SyncP99 >= slowSync.Seconds() {
			say(Warn, "", "The disk is slow: the slowest of a hundred syncs takes %d ms.", int(newest.SyncP99*1000))
		}
		for _, class := range slices.Sorted(maps.Keys(n.Incidents)) {
			count := n.Incidents[class]
			if class != "partition-stopped" || o.Partitions.Stopped == 0 {
				say(Note, command, "%d incident(s) of class %s since the start.", count, class)
			}
		}
	}
	for i := range groups {
		g := &groups[i]
		if g.Lag >= behindRecords && (g.Trend == Behind || g.Trend == Still && g.Members > 0) {
			say(Warn, "", "Group %s %s: it is %d records behind.", g.Name, g.Trend, g.Lag)
		}
	}
	rank := []Level{Bad, Warn, Note, Fine}
	slices.SortStableFunc(all, func(a, b Remark) int { return slices.Index(rank, a.Level) - slices.Index(rank, b.Level) })
	if len(all) == 0 || all[0].Level == Note && o.Boot == nil {
		all = append([]Remark{{Level: Fine, Text: o.fine()}}, all...)
	}
	return all
}

func judgeDisk(o *Overview, say func(Level, string, string, ...any)) {
	n := o.Node
	free := 1.0
	if n.DiskTotal > 0 && n.DiskFree >= 0 {
		free = float64(n.DiskFree) / float64(n.DiskTotal)
	}
	left := time.Duration(math.Min(o.DiskFullIn, 1e9) * float64(time.Second))
	const next = "df -h "
	switch {
	case o.DiskFullIn >= 0 && left < time.Hour:
		say(Bad, next+n.Directory, "The disk is full in about %s at this pace.", spoken(left))
	case free < 0.02:
		say(Bad, next+n.Directory, "The disk is almost full: %.1f %% are free.", 100*free)
	case o.DiskFullIn >= 0 && left < 24*time.Hour:
		say(Warn, next+n.Directory, "The disk is full in about %s at this pace.", spoken(left))
	case free < 0.1:
		say(Warn, next+n.Directory, "The disk fills up: %.0f %% are free.", 100*free)
	}
}

func (o *Overview) fine() string {
	switch {
	case o.Partitions.Online == 0:
		return "Healthy and empty: there is no topic yet."
	case o.Partitions.Online == 1:
		return "Healthy: one partition serves, everything acknowledged is on the device."
	}
	return fmt.Sprintf("Healthy: %d partitions serve, everything acknowledged is on the device.", o.Partitions.Online)
}

func (b *Boot) sentence() string {
	switch b.Stage {
	case "survey", "replay":
		doing := "reading the journal"
		if b.Stage == "replay" {
			doing = "replaying the journal"
		}
		text := fmt.Sprintf("Recovering: %s, %.0f %% done", doing, b.Percent)
		if b.ETASeconds >= 0 {
			text += fmt.Sprintf(", about %s left", spoken(time.Duration(math.Ceil(b.ETASeconds)*float64(time.Second))))
		}
		return text + "."
	case "open":
		return "Recovering: the journal is replayed, partitions are being opened."
	}
	return "Starting: the metadata log is being opened."
}

// spoken writes a duration as people say it.
func spoken(d time.Duration) string {
	switch seconds := int(d.Seconds()); {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%d min", (seconds+30)/60)
	case seconds < 36*3600:
		return fmt.Sprintf("%d h %d min", seconds/3600, seconds%3600/60)
	default:
		return fmt.Sprintf("%d days", seconds/86400)
	}
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func enumerate(names []string, of int) string {
	text := strings.Join(names, ", ")
	if of > len(names) {
		text += fmt.Sprintf(" and %d more", of-len(names))
	}
	return text
}

// overview gathers one; n is nil while there is no node.
func (s *Server) overview(n Source) *Overview {
	o := &Overview{
		Time: time.Now().UnixMilli(), Version: s.version, State: Recovering, Health: s.health(), DiskFullIn: -1, Process: s.processFigures(),
		Groups: GroupCount{States: map[string]int{}},
	}
	if n == nil {
		boot := s.boot()
		o.Boot = &boot
		o.Remarks = judge(o, nil, nil, "")
		return o
	}
	switch {
	case !o.Health.Live:
		o.State = Failed
	case o.Health.Ready:
		o.State = Serving
	default:
		o.State = Waiting
	}
	snap := n.Snapshot()
	o.Node = &snap
	parts := n.Partitions()
	o.Topics = len(topicsOf(parts))
	for i := range parts {
		if p := &parts[i]; p.Stopped == "" {
			o.Partitions.Online++
		} else if o.Partitions.Stopped++; o.Partitions.Stopped <= 10 {
			o.Partitions.Which = append(o.Partitions.Which, fmt.Sprintf("%s-%d", p.Topic, p.Partition))
		}
	}
	var rows []GroupRow
	if groups, err := n.Groups(); err != nil {
		o.Groups.Error = err.Error()
	} else {
		rows = s.groupRows(groups)
		for i := range rows {
			o.Groups.States[rows[i].State]++
			o.Groups.Total++
			o.Groups.Lag += rows[i].Lag
		}
	}
	o.DiskFullIn = s.history.secondsToFull()
	var newest *Sample
	if recent := s.history.since(o.Time - 3*SampleEvery.Milliseconds()); len(recent) > 0 {
		newest = &recent[len(recent)-1]
	}
	o.Remarks = judge(o, rows, newest, "chronik wal verify --live "+snap.Directory)
	return o
}

// boot returns how far the process is.
func (s *Server) boot() Boot {
	if s.process == nil {
		return Boot{ETASeconds: -1}
	}
	b := s.process.Boot()
	b.Estimate()
	return b
}

// processFigures reads them from the same collectors that /metrics uses.
func (s *Server) processFigures() Process {
	p := Process{ResidentBytes: -1, HeapBytes: -1, CPUSeconds: -1, OpenFiles: -1, Goroutines: -1}
	families, err := s.runtime.Gather()
	if err != nil {
		s.log.Warn("process figures", "error", err)
	}
	for _, f := range families {
		m := f.GetMetric()[0]
		v := m.GetGauge().GetValue() + m.GetCounter().GetValue()
		switch f.GetName() {
		case "process_resident_memory_bytes":
			p.ResidentBytes = int64(v)
		case "go_memstats_heap_alloc_bytes":
			p.HeapBytes = int64(v)
		case "process_cpu_seconds_total":
			p.CPUSeconds = v
		case "process_open_fds":
			p.OpenFiles = int64(v)
		case "go_goroutines":
			p.Goroutines = int64(v)
		}
	}
	return p
}
