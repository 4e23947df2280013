package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/raftdump"
	"chronik.dev/chronik/walinspect"
)

func newRaftSnapshot(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Look at snapshots of the metadata: list, verify, dump",
		Long:  `Read raft/snapshots: the metadata as of an index, and who was in the group. The two newest are kept.`,
	}
	return family(cmd, newSnapshotList(a), newSnapshotVerify(a), newSnapshotDump(a))
}

func newSnapshotList(a *app) *cobra.Command {
	o := &raftOptions{}
	cmd := &cobra.Command{
		Use:     "list DIR",
		Short:   "List the snapshots, intact or not",
		Example: `  chronik raft snapshot list ./chronik-data`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := o.open(args[0])
			if err != nil {
				return err
			}
			list, err := d.Snapshots()
			started := raftStarted(args[0], err)
			if err != nil && started == nil {
				return fmt.Errorf("cannot list the snapshots of %s: %w", args[0], err)
			}
			if err := document(a, "raft-snapshot-list", list, snapshotsText); err != nil {
				return err
			}
			return started
		},
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func snapshotsText(list []raftdump.Snapshot, w io.Writer) error {
	t := &table{w: w, headers: []string{"FILE", "INDEX", "TERM", "SIZE", "VOTERS", "TOPICS", "BROKERS", "STATE HASH", "NOTE"}}
	for i := range list {
		s := &list[i]
		row := []string{s.File, num(s.Index), num(s.Term), bytesText(s.Size), "", "", "", "", "damaged: " + s.Problem}
		if s.Problem == "" {
			var notes []string
			if s.Starts {
				notes = append(notes, "the next start begins here")
			}
			if s.Installed {
				notes = append(notes, "from the leader")
			}
			row = []string{s.File, num(s.Index), num(s.Term), bytesText(s.Size), fmt.Sprintf("%x", s.Voters), num(uint64(s.Topics)), num(uint64(s.Brokers)), s.Hash,
				strings.Join(notes, ", ")}
		}
		if err := t.Row(row...); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no snapshots")
		return err
	}
	return t.Flush()
}

func newSnapshotVerify(a *app) *cobra.Command {
	o := &raftOptions{}
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Find every damage in the snapshots and say what it means",
		Long: `Report what 'chronik raft verify' finds about the files of raft/snapshots: checks of the file, the state in it and its hash, and whether the
older one and the log give the newer one.

Exit codes: 0 clean, 3 corrupt, 5 the node is running, 6 I/O error, 15 unknown version.`,
		Example: `  chronik raft snapshot verify ./chronik-data`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := o.open(args[0])
			if err != nil {
				return err
			}
			target, err := walinspect.Open(walinspect.Options{FS: vfs.OS, Path: d.Path, Live: o.live, Only: filepath.Join(d.Path, datadir.SnapshotsDir)})
			if err != nil {
				return fmt.Errorf("cannot open %s: %w", args[0], err)
			}
			return a.verify("raft-snapshot-verify", target, walinspect.Default, a.newProgress())
		},
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func newSnapshotDump(a *app) *cobra.Command {
	o := &raftOptions{}
	var index uint64
	cmd := &cobra.Command{
		Use:   "dump DIR",
		Short: "Show a snapshot: members and the whole metadata",
		Example: `  chronik raft snapshot dump ./chronik-data
  chronik raft snapshot dump --index 40 -o json ./chronik-data`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := o.open(args[0])
			if err != nil {
				return err
			}
			s, err := d.Snapshot(index)
			var damaged *raftdump.DamagedError
			switch {
			case errors.As(err, &damaged):
				return &exitError{code: exitCorrupt, err: fmt.Errorf("%w; run `chronik raft snapshot verify %s`", err, args[0])}
			case errors.Is(err, raftdump.ErrNoSnapshot):
				return &exitError{code: exitNotFound, err: fmt.Errorf("%w; run `chronik raft snapshot list %s`", err, args[0])}
			}
			started := raftStarted(args[0], err)
			if err != nil && started == nil {
				return fmt.Errorf("cannot read the snapshot of %s: %w", args[0], err)
			}
			if err := document(a, "raft-snapshot", s, snapshotText); err != nil {
				return err
			}
			return started
		},
	}
	o.flags(cmd)
	cmd.Flags().Uint64Var(&index, "index", 0, "the snapshot at this `INDEX`; 0 is the newest that is intact")
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func snapshotText(s *raftdump.Snapshot, w io.Writer) error {
	fmt.Fprintf(w, "%s: index %d, term %d, %s, state %s\n", s.File, s.Index, s.Term, bytesText(s.Size), s.Hash)
	fmt.Fprintf(w, "voters %x, learners %x; the log is kept from index %d on\n", s.Voters, s.Learners, s.BaseIndex+1)
	var b bytes.Buffer
	if err := json.Indent(&b, s.State, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n", b.Bytes())
	return err
}
