package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/walinspect"
)

func newWalScan(a *app) *cobra.Command {
	o := &walOptions{}
	cmd := &cobra.Command{
		Use:   "scan PATH",
		Short: "List every file with what it holds",
		Long: `List every file: what it is, its size, the range of LSNs or offsets and of times that it holds, and whatever is odd about it:
spares, cuts, orphans, unknown files.`,
		Example: `  chronik wal scan ./chronik-data
  chronik wal scan -o ndjson ./chronik-data/wal`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			bar := a.newProgress()
			defer bar.clear()
			target, err := o.open(args[0], bar.update)
			if err != nil {
				return err
			}
			p := a.newPrinter("wal-scan", &scanText{})
			sum, err := target.Scan(func(e *walinspect.Entry) error { return p.Item(e) })
			if err != nil {
				return fmt.Errorf("cannot scan %s: %w", args[0], err)
			}
			bar.clear()
			return p.Close(sum)
		},
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// scanText renders entries as a table.
type scanText struct {
	table *table
}

func (s *scanText) item(w io.Writer, item any) error {
	e, ok := item.(*walinspect.Entry)
	if !ok {
		return fmt.Errorf("no entry but %T", item)
	}
	if s.table == nil {
		s.table = &table{w: w, headers: []string{"file", "kind", "size", "range", "newest", "note"}}
	}
	return s.table.Row(e.File, e.Kind, bytesText(e.Size), e.Range(), timeText(e.LastTime), e.Note)
}

func (s *scanText) summary(w io.Writer, summary any) error {
	sum, ok := summary.(*walinspect.ScanSummary)
	if !ok {
		return fmt.Errorf("no summary but %T", summary)
	}
	if s.table != nil {
		if err := s.table.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s (%s): %d files, %s\n", sum.Target, sum.Kind, sum.Files, bytesText(sum.Size))
	return err
}
