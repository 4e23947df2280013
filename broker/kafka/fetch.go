package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
)

// fetchCall is a Fetch. It runs on the writer when all earlier requests of the connection are answered, waits there, and holds records
// only between reading and writing them.
type fetchCall struct {
	req *kmsg.FetchRequest
	due time.Time // when it is answered whatever there is
}

// fetched is what one partition has to say.
type fetched struct {
	code          int16
	highWatermark int64
	logStart      int64
	diverges      bool // the client's log and ours parted at:
	divergedEpoch int32
	divergedEnd   int64
	leader        leaderHint
	records       [][]byte
	bytes         int
	count         int // of records in them
	last          int // bytes of the last batch read

	log  *partition.Log
	next int64 // where the next read begins
}

// fetcher reads for one fetch until there is enough.
type fetcher struct {
	c        *conn
	fc       fetchContext
	results  []fetched
	total    int
	due      time.Time
	reserved int64 // of the server's memory for fetched records
	scarce   int64 // of what is kept for when that is spent
	maxBytes int
	minBytes int
	urgent   bool // an error or a divergence must be told at once
	full     bool // there is no memory for more
	waited   time.Duration
	pooled   []*[]byte // memory of the records, until they are written
	held     int64     // bytes of all memory that alloc made
}

// alloc makes memory for records.
func (w *fetcher) alloc(n int) []byte {
	if n > maxPooled {
		w.held += int64(n)
		return make([]byte, n)
	}
	b := getFrame(n)
	w.held += int64(cap(*b))
	w.pooled = append(w.pooled, b)
	return *b
}

// fetch queues a Fetch for the writer.
func fetch(ca *call, body []byte) error {
	req, err := parse[*kmsg.FetchRequest](ca, body)
	if err != nil {
		return err
	}
	wait := time.Duration(max(req.MaxWaitMillis, 0)) * time.Millisecond
	if ca.held > 0 { // others need the memory
		wait = min(wait, ca.c.s.opt.FrameTimeout)
	}
	ca.deferred = &fetchCall{req: req, due: time.Now().Add(wait)}
	return ca.c.enqueue(ca)
}

// respond implements deferredCall.
func (f *fetchCall) respond(ca *call, out *output) (written func()) {
	c := ca.c
	fc, code := c.s.sessions.open(f.req)
	limit := min(int(max(f.req.MaxBytes, 0)), c.s.b.Config().FetchMaxBytes())
	w := &fetcher{
		c: c, fc: fc, results: make([]fetched, len(fc.reads)), maxBytes: limit, minBytes: min(int(f.req.MinBytes), limit), due: f.due,
	}
	if code == 0 {
		w.collect()
		ca.began += w.waited
	}
	w.count()
	send := w.fc.tell(w.results)
	id := int32(0)
	if w.fc.session != nil {
		id = w.fc.session.id
	}
	w.encode(ca, f.req, code, id, send, out)
	return func() {
		c.s.fetches.adjust(-w.reserved)
		c.s.scarce.adjust(-w.scarce)
		for _, b := range w.pooled {
			putFrame(b)
		}
	}
}

// collect reads until there is enough, the time is over, or something must be told.
func (w *fetcher) collect() {
	w.read()
	if w.enough() {
		return
	}
	wait := time.Until(w.due)
	if wait <= 0 {
		return
	}
	moved := make(chan struct{}, 1)
	for i := range w.results {
		if l := w.results[i].log; l != nil {
			defer l.Watch(moved)()
		}
	}
	began := w.c.s.clock()
	defer func() { w.waited = w.c.s.clock() - began }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		w.read() // again: something may have come before the watch
		if w.enough() {
			return
		}
		select {
		case <-moved:
		case <-timer.C:
			return
		case <-w.c.late:
			return
		case <-w.c.ctx.Done():
			return
		case <-w.c.s.stopping:
			return
		}
	}
}

func (w *fetcher) enough() bool {
	return w.urgent || w.full || w.total >= w.minBytes || len(w.results) == 0
}

// read makes one pass over the partitions, in order, from where each of them stands.
func (w *fetcher) read() {
	for i := range w.results {
		r, p := &w.results[i], &w.fc.reads[i]
		if r.log == nil && r.code == 0 {
			w.find(p, r)
		}
		if r.code != 0 || r.diverges {
			continue
		}
		if err := r.log.Stopped(); err != nil && r.bytes == 0 { // deleted or failed, perhaps while we waited
			w.fail(p, r, code(err))
			continue
		}
		r.highWatermark, r.logStart = r.log.HighWatermark(), r.log.LogStart()
		for w.more(p, r) {
		}
	}
}

// find looks up the partition's log and checks what the client knows of it.
func (w *fetcher) find(p *fetchPart, r *fetched) {
	b := w.c.s.b
	var err error
	r.highWatermark, r.logStart, r.leader, r.next = -1, -1, leaderHint{-1, -1}, p.offset
	if p.topic == "" && p.id != [16]byte{} {
		r.log, err = b.LogByID(p.id, p.index)
	} else {
		r.log, err = b.Log(p.topic, p.index)
	}
	if err != nil {
		w.fail(p, r, code(err))
		return
	}
	if c := checkEpoch(r.log, p.leaderEpoch); c != 0 {
		w.fail(p, r, c)
		return
	}
	r.highWatermark, r.logStart = r.log.HighWatermark(), r.log.LogStart()
	if p.offset < r.logStart || p.offset > r.log.LogEnd() {
		w.fail(p, r, kerr.OffsetOutOfRange.Code)
		return
	}
	if p.fetchedEpoch < 0 {
		return
	}
	switch epoch, end := r.log.EpochEnd(p.fetchedEpoch); {
	case epoch < 0 || end < 0:
		w.fail(p, r, kerr.OffsetOutOfRange.Code)
	case epoch < p.fetchedEpoch || end < p.offset:
		r.diverges, r.divergedEpoch, r.divergedEnd, w.urgent = true, epoch, end, true
	}
}

// checkEpoch compares the leader epoch that a client believes in with the partition's (KIP-320); -1 is not compared.
func checkEpoch(l *partition.Log, epoch int32) int16 {
	switch now := l.LeaderEpoch(); {
	case epoch < 0 || epoch == now:
		return 0
	case epoch < now:
		return kerr.FencedLeaderEpoch.Code
	}
	return kerr.UnknownLeaderEpoch.Code
}

// fail records an error, which is told at once.
func (w *fetcher) fail(p *fetchPart, r *fetched, code int16) {
	r.code, r.highWatermark, r.logStart, w.urgent = code, -1, -1, true
	if code == kerr.NotLeaderForPartition.Code || code == kerr.FencedLeaderEpoch.Code {
		r.leader = w.c.leader(p.topic, p.id, p.index)
	}
}

// more reads on in one partition and says whether to go on. The first records of a response may exceed every limit, so that a batch that
// is larger than the client's buffers does not stop it for ever (KIP-74).
func (w *fetcher) more(p *fetchPart, r *fetched) bool {
	if r.next >= r.highWatermark {
		return false
	}
	room := min(int(p.maxBytes)-r.bytes, w.maxBytes-w.total)
	first := w.total == 0
	if w.full || room <= 0 && !first || room < r.last { // or hardly another batch fits: not worth a read
		return false
	}
	want, alloc := int64(max(room, batch.HeaderSize)), w.alloc
	if !w.c.s.fetches.try(want) {
		if !first {
			return false
		}
		room = min(room, scarceRead)
		if want, alloc = int64(max(room, batch.HeaderSize)), nil; !w.takeScarce(want) {
			return false
		}
	}
	before := w.held
	data, err := r.log.Read(partition.ReadRequest{Offset: r.next, UpTo: r.highWatermark, MaxBytes: max(room, 0), AtLeastOne: first, Alloc: alloc})
	if alloc == nil {
		w.c.s.scarce.adjust(int64(len(data)) - want)
		w.scarce += int64(len(data))
		w.full = true
	} else {
		w.c.s.fetches.adjust(w.held - before - want)
		w.reserved += w.held - before
	}
	switch {
	case err == nil && len(data) == 0:
		return false
	case err != nil && r.bytes > 0: // what was read before stays true; the error comes again with the next fetch
		w.urgent = true
		return false
	case errors.Is(err, partition.ErrOffsetOutOfRange):
		w.fail(p, r, kerr.OffsetOutOfRange.Code)
		return false
	case err != nil:
		w.fail(p, r, code(err))
		return false
	}
	r.records = append(r.records, data)
	r.bytes += len(data)
	w.total += len(data)
	end, count, last := endOf(data)
	r.next, r.count, r.last = max(end, r.next+1), r.count+count, last
	return true
}

// scarceRead is how much a fetch may read when the memory for fetched records is spent.
const scarceRead = 64 << 10

// takeScarce waits for a small piece of memory, not beyond the fetch's time or a second. Who reads slowly must not keep records from everyone.
func (w *fetcher) takeScarce(n int64) bool {
	patience := time.Now().Add(time.Second)
	if w.due.After(patience) {
		patience = w.due
	}
	ctx, cancel := context.WithDeadline(w.c.ctx, patience)
	defer cancel()
	return w.c.s.scarce.take(ctx, n, 0) == nil
}

// count adds what is sent to the counters of its partitions.
func (w *fetcher) count() {
	for i := range w.results {
		if r := &w.results[i]; r.bytes > 0 {
			r.log.CountFetched(r.count, r.bytes)
		}
	}
}

// endOf returns the offset behind the last batch of a run of whole batches, how many records they hold, and the last one's size.
func endOf(data []byte) (end int64, count, last int) {
	for len(data) >= batch.HeaderSize {
		end = int64(binary.BigEndian.Uint64(data)) + int64(int32(binary.BigEndian.Uint32(data[23:]))) + 1
		count += int(int32(binary.BigEndian.Uint32(data[57:])))
		size := 12 + int64(int32(binary.BigEndian.Uint32(data[8:])))
		if size < batch.HeaderSize || size > int64(len(data)) {
			break
		}
		data, last = data[size:], int(size)
	}
	return end, count, last
}

// encode adds the response frame. Records go to the socket from the memory that they were read into.
func (w *fetcher) encode(ca *call, req *kmsg.FetchRequest, code int16, sessionID int32, send []int, out *output) {
	var pieces output
	version := ca.version
	e := encoder{b: ca.appendHeader(make([]byte, 4, 128+64*len(send))), flexible: ca.api.flexible(version)}
	e.int32(0) // throttle
	if version >= 7 {
		e.int16(code)
		e.int32(sessionID)
	}
	runs := w.byTopic(send)
	e.count(len(runs))
	var hints []leaderHint
	for _, run := range runs {
		first := &w.fc.reads[run[0]]
		if version >= 13 {
			e.uuid(first.id)
		} else {
			e.string(first.topic)
		}
		e.count(len(run))
		for _, i := range run {
			r := &w.results[i]
			w.encodePartition(&e, version, w.fc.reads[i].index, r, req.IsolationLevel)
			for _, data := range r.records {
				e.b = pieces.hand(e.b)
				pieces.add(data)
			}
			if version >= 12 && r.leader.id >= 0 {
				hints = append(hints, r.leader)
			}
			r.encodeTags(&e)
		}
		e.noTags()
	}
	if version >= 16 && len(hints) > 0 {
		e.nodeEndpoints(w.c, hints)
	} else {
		e.noTags()
	}
	pieces.add(e.b)
	pieces.cut()
	size := 0
	for _, b := range pieces.bufs {
		size += len(b)
	}
	binary.BigEndian.PutUint32(pieces.bufs[0], uint32(size-4))
	for _, b := range pieces.bufs {
		out.add(b)
	}
}

// byTopic groups partitions of the same topic that follow each other.
func (w *fetcher) byTopic(send []int) (runs [][]int) {
	for from := 0; from < len(send); {
		p := &w.fc.reads[send[from]]
		to := from + 1
		for to < len(send) && w.fc.reads[send[to]].topic == p.topic && w.fc.reads[send[to]].id == p.id {
			to++
		}
		runs = append(runs, send[from:to])
		from = to
	}
	return runs
}

// encodePartition writes a partition up to the length of its records.
func (w *fetcher) encodePartition(e *encoder, version int16, index int32, r *fetched, isolation int8) {
	e.int32(index)
	e.int16(r.code)
	e.int64(r.highWatermark)
	e.int64(r.highWatermark) // last stable offset: there are no transactions yet
	if version >= 5 {
		e.int64(r.logStart)
	}
	if isolation == 0 {
		e.count(-1) // aborted transactions: null, not asked for
	} else {
		e.count(0)
	}
	if version >= 11 {
		e.int32(-1) // preferred read replica
	}
	e.size(r.bytes)
}

// encodeTags writes the tagged fields of a partition: 0 the diverging epoch, 1 the current leader.
func (r *fetched) encodeTags(e *encoder) {
	if !e.flexible {
		return
	}
	n := 0
	if r.diverges {
		n++
	}
	if r.leader.id >= 0 {
		n++
	}
	e.uvarint(n)
	if r.diverges {
		e.uvarint(0)
		e.uvarint(13)
		e.int32(r.divergedEpoch)
		e.int64(r.divergedEnd)
		e.uvarint(0)
	}
	if r.leader.id >= 0 {
		e.leaderTag(1, r.leader)
	}
}
