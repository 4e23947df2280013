package walinspect

import (
	"iter"
	"runtime"
	"sync/atomic"
)

// findingsAhead bounds the findings of a partition that wait for those of the partitions before it.
const findingsAhead = 64

// part is the verification of one partition beside others.
type part struct {
	v        *verifier
	findings chan *Finding
	err      error // when findings is closed
}

// partitions verifies partitions, as many at once as there are processors, and reports in their order.
func (v *verifier) partitions(places iter.Seq[*place]) error {
	if runtime.GOMAXPROCS(0) == 1 {
		for p := range places {
			if err := v.partition(p); err != nil || v.failed != nil {
				return err
			}
		}
		return nil
	}
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	parts := make(chan *part, cap(slots))
	var stop atomic.Bool
	go func() {
		defer close(parts)
		for p := range places {
			slots <- struct{}{}
			if stop.Load() {
				return
			}
			w := v.fork()
			parts <- w // in order, so the first that is not reported yet always has a slot
			go func() {
				w.err = w.v.partition(p)
				close(w.findings)
				<-slots
			}()
		}
	}()
	var err error
	for w := range parts {
		for f := range w.findings {
			v.report(*f)
		}
		v.sum.Partitions += w.v.sum.Partitions
		v.sum.Batches += w.v.sum.Batches
		v.sum.Records += w.v.sum.Records
		if err == nil {
			err = w.err
		}
		if err != nil || v.failed != nil {
			stop.Store(true) // those under way are waited for
		}
	}
	return err
}

// fork returns a verification of one partition whose findings are handed over raw: report words and counts them in the order of partitions.
func (v *verifier) fork() *part {
	w := &part{findings: make(chan *Finding, findingsAhead)}
	w.v = &verifier{t: v.t, level: v.level, grown: v.grown, files: v.files, cleaned: v.cleaned, started: v.started, handOver: w.findings}
	return w
}
