package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/walinspect"
)

type raftVerifyOptions struct {
	raftOptions
	deep bool
}

func newRaftVerify(a *app) *cobra.Command {
	o := &raftVerifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Find every damage and contradiction in Raft's state and say what it means",
		Long: `Read the metadata group's state and report every finding, as 'wal verify' does for a whole directory: HardState copies, snapshots, log, and
whether they agree with each other, with the identity and with the checkpoint. Each rule has a code; docs/recovery/raft.md explains them.
The entries between the two snapshots are applied to the older one and must give the newer one.

--deep also reads the whole journal for the Raft indexes that it names.

Exit codes: 0 clean, 3 corrupt, 4 torn tail only, 5 the node is running, 6 I/O error, 15 unknown version.`,
		Example: `  chronik raft verify ./chronik-data
  chronik raft verify --deep -o json ./chronik-data`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(a, args[0]) },
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.deep, "deep", false, "read the journal too")
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (o *raftVerifyOptions) run(a *app, path string) error {
	d, err := o.open(path)
	if err != nil {
		return err
	}
	bar := a.newProgress()
	defer bar.clear()
	target, err := walinspect.Open(walinspect.Options{FS: vfs.OS, Path: d.Path, Live: o.live, Progress: bar.update})
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	level := walinspect.Default
	if o.deep {
		level = walinspect.Deep
	}
	return a.verify("raft-verify", target, level, bar)
}
