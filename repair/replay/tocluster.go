package replay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
)

// ClusterOptions say what ToCluster replays, and where to.
type ClusterOptions struct {
	FS          vfs.FS
	Dir         string            // a data directory that no node runs on
	Address     string            // HOST:PORT of a broker of the target
	Topics      map[string]string // to replay, to their names in the target; an empty name keeps it; none: all but internal ones
	Prefix      string            // before every name in the target
	Create      bool              // create missing topics
	Resume      string            // path of the resume file; empty: chronik-replay-<directory id>.resume in the current directory
	Rate        float64           // bytes per second; 0: as fast as it goes
	Timeout     time.Duration     // without an acknowledgement, after which the replay ends; 0: two minutes
	SkipDamaged bool
	Progress    func(done, total int64) // bytes acknowledged, of those to send; may be nil
}

// ClusterReport says what ToCluster did, over all its runs with one resume file.
type ClusterReport struct {
	Source     string           `json:"source"`
	Identity   datadir.Identity `json:"identity"` // of the source
	Target     string           `json:"target"`
	Cluster    string           `json:"target_cluster"`
	Resume     string           `json:"resume_file"`
	Resumed    bool             `json:"resumed"`  // the file was there: this run went on
	Finished   bool             `json:"finished"` // before this run: nothing was left to send
	ProducerID int64            `json:"producer_id"`
	Partitions []LaneReport     `json:"partitions"`
	Records    int64            `json:"records"`
	Bytes      int64            `json:"bytes"`
	Batches    int64            `json:"batches"`
	Duplicates int64            `json:"duplicates"`
	Control    int64            `json:"control_batches"` // not sent
	Aborted    int64            `json:"aborted_records"` // not sent
	Open       int64            `json:"open_records"`    // of transactions that never ended; not sent
	Internal   []string         `json:"internal_topics"` // not sent
	Lost       []Loss           `json:"lost"`            // with SkipDamaged
	Notes      []string         `json:"notes"`
	Seconds    float64          `json:"seconds"`    // of this run
	Sent       int64            `json:"sent_bytes"` // acknowledged in this run
}

// LaneReport is one partition.
type LaneReport struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Target     string `json:"target"`
	From       int64  `json:"from"` // source offsets [From, To)
	To         int64  `json:"to"`
	Batches    int64  `json:"batches"` // acknowledged
	Records    int64  `json:"records"`
	Bytes      int64  `json:"bytes"`
	Duplicates int64  `json:"duplicates"`        // batches that the target knew already when they were sent again
	First      int64  `json:"target_first"`      // offset of the first record in the target, -1 if there is none
	End        int64  `json:"target_end"`        // after the last one
	Rewritten  int64  `json:"rewritten_batches"` // encoded anew: compacted, times set by the broker, or cut by the log start
	Control    int64  `json:"control_batches"`
	Aborted    int64  `json:"aborted_records"`
	Open       int64  `json:"open_records"`
}

// run is one ToCluster.
type run struct {
	o        ClusterOptions
	s        *source
	t        *target
	wishes   []*wish
	internal []string
	lanes    []*lane
	byPart   map[partition.Identity]*lane
	state    *progressState
	resume   *resumeFile
	resumed  bool
	notes    []string
}

// ToCluster produces a directory's records into a live cluster, each exactly once over any number of runs with one resume file: partitions,
// order, times, keys and headers stay. Errors: vfs.ErrLocked, ErrStarted, *DamageError, ErrUnreachable, ErrStalled, ErrNoTopic, ErrRefused
// (too few partitions, a resume file of something else), the target's own, and those of the disk. After an error of the target or a kill
// the same call goes on.
func ToCluster(ctx context.Context, o ClusterOptions) (*ClusterReport, error) {
	began := time.Now()
	r := &run{o: o, byPart: map[partition.Identity]*lane{}}
	if r.o.Timeout == 0 {
		r.o.Timeout = 2 * time.Minute
	}
	var err error
	if r.s, err = openSource(o.FS, o.Dir, nil); err != nil {
		return nil, err
	}
	if r.t, err = connect(ctx, o.Address); err != nil {
		return nil, err
	}
	defer r.t.client.Close()
	if err := r.plan(ctx); err != nil {
		return nil, err
	}
	if len(r.lanes) == 0 {
		return nil, fmt.Errorf("%s: %w: it has no topic to replay", r.s.dir, ErrNoTopic)
	}
	if err := r.survey(); err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	finished, sent := r.state.Done, int64(0)
	if !finished {
		sent, err = r.send(ctx)
	}
	if err = errors.Join(err, r.resume.close()); err != nil {
		return nil, err
	}
	report := r.report()
	report.Finished, report.Sent, report.Seconds = finished, sent, time.Since(began).Seconds()
	return report, nil
}

// plan decides which topics go where, and makes sure that they are there.
func (r *run) plan(ctx context.Context) error {
	if r.t.id == r.s.id.ClusterID && r.o.Prefix == "" {
		renamed := len(r.o.Topics) > 0
		for topic, as := range r.o.Topics {
			renamed = renamed && as != "" && as != topic
		}
		if !renamed {
			return fmt.Errorf("%w: %s is the cluster that the records are from (%s): they would be there twice; give them other names with --prefix or --topic FROM=TO",
				ErrRefused, r.o.Address, r.t.id)
		}
	}
	image, err := r.s.metadataOf()
	if err != nil {
		r.notes = append(r.notes, fmt.Sprintf("the source's metadata cannot be read (%v): partitions are counted by their directories, and no topic configuration is taken over", err))
		image = nil
	}
	if r.wishes, r.internal, err = wishesOf(r.s, image, r.o.Topics, r.o.Prefix); err != nil {
		return err
	}
	for _, w := range r.wishes {
		w.appendTime = w.configs[timestampType] == "LogAppendTime"
	}
	for _, w := range r.wishes {
		for _, p := range r.s.parts {
			if p.Topic == w.topic {
				r.lane(p, w)
			}
		}
	}
	return nil
}

func (r *run) lane(p *sourcePart, w *wish) {
	l := &lane{src: p, content: newContent(p.LogStart, p.End)}
	l.state = laneState{Topic: p.Topic, Partition: p.Identity.Partition, Target: w.target, Next: p.LogStart, First: -1}
	r.lanes = append(r.lanes, l)
	r.byPart[p.Identity] = l
}

// survey reads everything once: what there is to send, and what is lost.
func (r *run) survey() error {
	for _, l := range r.lanes {
		err := r.s.files(l.src, l.src.LogStart, l.content.add, func(loss Loss) { r.s.lost = append(r.s.lost, loss) })
		if err != nil {
			return err
		}
	}
	if err := r.journal(func(l *lane, h *batch.Header, raw []byte) error { return l.content.add(h, raw) }); err != nil {
		return err
	}
	for _, l := range r.lanes {
		l.content.finish()
	}
	var lost []Loss
	for _, loss := range r.s.lost {
		for _, l := range r.lanes {
			if l.src.Topic == loss.Topic && l.src.Identity.Partition == loss.Partition {
				lost = append(lost, loss)
			}
		}
	}
	if r.s.lost = lost; len(lost) > 0 && !r.o.SkipDamaged {
		return &DamageError{Dir: r.s.dir, Lost: lost}
	}
	return nil
}

// journal hands over the batches that the journal has behind the partition logs, in the order in which they were written.
func (r *run) journal(fn func(l *lane, h *batch.Header, raw []byte) error) error {
	any := false
	for _, l := range r.lanes {
		any = any || l.src.journal > 0
	}
	if !any {
		return nil
	}
	_, err := recovery.Check(recovery.CheckOptions{
		FS: r.s.fs, Dir: r.s.dir, DirID: r.s.id.DirectoryID,
		Batch: func(id partition.Identity, h *batch.Header, raw []byte) error {
			if l := r.byPart[id]; l != nil {
				return fn(l, h, raw)
			}
			return nil
		},
	})
	return err
}

// open prepares the target and makes or loads the resume file.
func (r *run) open(ctx context.Context) error {
	if err := r.t.prepare(ctx, r.wishes, r.o.Create); err != nil {
		return err
	}
	if err := r.t.await(ctx, r.lanes); err != nil {
		return err
	}
	sum := sha256.New()
	want := &progressState{Lanes: []laneState{}}
	want.Source.Directory, want.Target.Cluster = hexID(r.s.id.DirectoryID), r.t.id
	for _, l := range r.lanes {
		l.state.TargetID, l.state.End = r.t.view.ids[l.state.Target], l.horizon
		want.Lanes = append(want.Lanes, l.state)
		fmt.Fprintf(sum, "%s %d [%d,%d) %x\n", l.src.Topic, l.src.Identity.Partition, l.src.LogStart, l.src.End, l.content.sum.Sum(nil))
	}
	want.Source.Fingerprint = hex.EncodeToString(sum.Sum(nil))
	path := r.o.Resume
	if path == "" {
		path = fmt.Sprintf("chronik-replay-%.8s.resume", want.Source.Directory)
	}
	r.o.Resume = path
	resume, have, err := loadResume(r.o.FS, path)
	if err != nil {
		return err
	}
	if resume != nil {
		r.resume, r.state, r.resumed = resume, have, true
		if err := r.goOn(want); err != nil {
			return errors.Join(err, resume.close())
		}
		return nil
	}
	if want.Producer.ID, want.Producer.Epoch, err = initProducer(ctx, r.t.client); err != nil {
		return fmt.Errorf("get a producer id: %w", err)
	}
	r.state = want
	r.resume, err = createResume(r.o.FS, path, want)
	return err
}

// forgetful is an age of a resume file from which on the target may have forgotten the producer (producer.id.expiration.ms, a day by default).
const forgetful = 12 * time.Hour

// goOn takes over the state of an earlier run, if that is safe.
func (r *run) goOn(want *progressState) error {
	if err := r.state.matches(r.o.Resume, want); err != nil {
		return err
	}
	old := time.Since(time.UnixMilli(r.state.Written)) > forgetful
	for i, l := range r.lanes {
		l.state, l.sequence, l.resumed = r.state.Lanes[i], r.state.Lanes[i].Sequence, maxInFlight
		end := l.state.End
		switch {
		case end > l.horizon:
			return fmt.Errorf("%w: %s-%d of the target ends at offset %d, but acknowledged records up to offset %d; the target lost some of them",
				ErrRefused, l.state.Target, l.state.Partition, l.horizon, end-1)
		case !r.state.Done && old && end != l.horizon:
			return fmt.Errorf("%w: resume file %s is older than %v and %s-%d has grown by %d records since: the target may have forgotten this producer, so that "+
				"batches of the last run cannot be told from others; compare the records, then start anew with another --resume and --topic",
				ErrRefused, r.o.Resume, forgetful, l.state.Target, l.state.Partition, l.horizon-end)
		}
	}
	return nil
}

// send reads the source and sends what is left.
func (r *run) send(ctx context.Context) (sent int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := make(chan *item)
	read := make(chan error, 1)
	go func() {
		err := r.read(ctx, in)
		if err == nil {
			close(in)
		} else {
			cancel()
		}
		read <- err
	}()
	var total, done int64
	for _, l := range r.lanes {
		total += l.content.Bytes
		done += l.state.Bytes
	}
	e := &engine{
		target: r.t, lanes: r.lanes, state: r.state, resume: r.resume, in: in, rate: r.o.Rate, timeout: r.o.Timeout,
		progress: func(n int64) {
			sent += n
			if r.o.Progress != nil {
				r.o.Progress(done+sent, max(total, done+sent))
			}
		},
	}
	err = e.run(ctx)
	cancel()
	if readErr := <-read; readErr != nil && !errors.Is(readErr, context.Canceled) {
		return sent, readErr
	}
	if err != nil {
		return sent, err
	}
	if err := r.s.stillFree(); err != nil {
		return sent, err
	}
	for i, l := range r.lanes {
		r.state.Lanes[i] = l.state
	}
	r.state.Done = true
	body, err := r.state.encode()
	if err != nil {
		return sent, err
	}
	return sent, r.resume.store(body)
}

// readers is how many partitions' files are read at once.
const readers = 8

// read gives the engine every batch that is left, each partition's in order: those of the files, then those of the journal.
func (r *run) read(ctx context.Context, in chan<- *item) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan *lane)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for l := range work {
				err := r.s.files(l.src, max(l.state.Next, l.src.LogStart), func(h *batch.Header, raw []byte) error { return give(ctx, in, l, h, raw) }, func(Loss) {})
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	starts := make(map[*lane]int64, len(r.lanes)) // the engine moves Next on
	for _, l := range r.lanes {
		starts[l] = l.state.Next
	}
	for _, l := range r.lanes {
		if starts[l] < l.src.Files.End {
			work <- l
		}
	}
	close(work)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return r.journal(func(l *lane, h *batch.Header, raw []byte) error {
		if h.LastOffset() < starts[l] {
			return nil
		}
		return give(ctx, in, l, h, raw)
	})
}

// give hands a batch to the engine, unless it is not for sending.
func give(ctx context.Context, in chan<- *item, l *lane, h *batch.Header, raw []byte) error {
	if l.content.skips(h) {
		return nil
	}
	out, count, err := sendable(h, raw, l.src.LogStart)
	if err != nil {
		return fmt.Errorf("%s offsets %d-%d cannot be encoded anew: %w", l.src.name(), h.BaseOffset, h.LastOffset(), err)
	}
	if count == 0 {
		return nil
	}
	select {
	case in <- &item{lane: l, raw: out, first: h.BaseOffset, last: h.LastOffset(), count: count}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// initProducer gets a producer id for an idempotent producer without transactions (KIP-98). A young cluster may need a moment.
func initProducer(ctx context.Context, client *kgo.Client) (id int64, epoch int16, err error) {
	ctx, cancel := context.WithTimeout(ctx, 6*dialTimeout)
	defer cancel()
	for {
		resp, err := kmsg.NewPtrInitProducerIDRequest().RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			return resp.ProducerID, resp.ProducerEpoch, nil
		}
		if !kerr.IsRetriable(err) {
			return 0, 0, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return 0, 0, err
		}
	}
}

// report sums up.
func (r *run) report() *ClusterReport {
	out := &ClusterReport{
		Source: r.s.dir, Identity: r.s.id, Target: r.o.Address, Cluster: r.t.id, Resume: filepath.Clean(r.o.Resume), Resumed: r.resumed,
		ProducerID: r.state.Producer.ID, Partitions: []LaneReport{}, Internal: append([]string{}, r.internal...),
		Lost: append([]Loss{}, r.s.lost...), Notes: append(append([]string{}, r.notes...), r.t.notes...),
	}
	for _, l := range r.lanes {
		c, s := l.content, &l.state
		out.Partitions = append(out.Partitions, LaneReport{
			Topic: s.Topic, Partition: s.Partition, Target: s.Target, From: c.start, To: c.end, Batches: s.Batches, Records: s.Records, Bytes: s.Bytes,
			Duplicates: s.Duplicates, First: s.First, End: s.End, Rewritten: c.Rewritten, Control: c.Control, Aborted: c.Aborted, Open: c.Open,
		})
		out.Records, out.Bytes, out.Batches, out.Duplicates = out.Records+s.Records, out.Bytes+s.Bytes, out.Batches+s.Batches, out.Duplicates+s.Duplicates
		out.Control, out.Aborted, out.Open = out.Control+c.Control, out.Aborted+c.Aborted, out.Open+c.Open
	}
	return out
}
