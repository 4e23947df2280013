package repair

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// problems says what a start of the node would find wrong in a directory, one line each, by what it is about.
func problems(fsys vfs.FS, dir string, id [16]byte) map[string]string {
	out := map[string]string{}
	report, err := recovery.Check(recovery.CheckOptions{FS: fsys, Dir: dir, DirID: id})
	if err != nil {
		out["journal and checkpoint"] = err.Error()
	}
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Verdict != wal.Notice {
			file, relErr := filepath.Rel(dir, f.File)
			if relErr != nil {
				file = f.File
			}
			about := fmt.Sprintf("%s byte %d: %s", filepath.ToSlash(file), f.Offset, f.Reason)
			out[about] = fmt.Sprintf("%s: %s", about, f.Verdict)
		}
	}
	for i := range report.Partitions {
		if p := &report.Partitions[i]; p.Status == recovery.Stopped || p.Status == recovery.Uncertain {
			out["partition "+p.Name()] = fmt.Sprintf("partition %s: %s: %s", p.Name(), p.Status, p.Reason)
		}
	}
	raft, err := raftlog.Inspect(raftlog.Options{FS: fsys, Dir: filepath.Join(dir, datadir.RaftDir), DirID: id, Buffered: true})
	switch {
	case errors.Is(err, raftlog.ErrMissing):
	case err != nil:
		out["Raft's state"] = err.Error()
	case raft.Damage != nil:
		out["Raft's state"] = raft.Damage.Error()
	}
	return out
}

// prove looks at the directory as the plan would leave it, and refuses a plan that makes something wrong that was in order before.
func (d *Draft) prove(base vfs.FS) error {
	before, after := problems(base, d.Dir, d.DirID), problems(vfs.NewOverlay(d.FS), d.Dir, d.DirID)
	var fresh []string
	for about, text := range after {
		d.plan.After = append(d.plan.After, text)
		if _, old := before[about]; !old {
			fresh = append(fresh, text)
		}
	}
	slices.Sort(d.plan.After)
	slices.Sort(fresh)
	if len(fresh) > 0 {
		return fmt.Errorf("%w: afterwards a start of the node would find what is in order now: %s", ErrRefused, strings.Join(fresh, "; "))
	}
	return nil
}
