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
			return o.read(a, args[0], func(target *walinspect.Target, bar *progress) error {
				p := a.newPrinter("wal-scan", &tabular[*walinspect.Entry, *walinspect.ScanSummary]{headers: scanHeaders, row: scanRow, end: scanEnd})
				sum, err := target.Scan(func(e *walinspect.Entry) error { return p.Item(e) })
				if err != nil {
					return fmt.Errorf("cannot scan %s: %w", args[0], err)
				}
				bar.clear()
				return p.Close(sum)
			})
		},
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

var scanHeaders = []string{"file", "kind", "size", "range", "newest", "note"}

func scanRow(e *walinspect.Entry) []string {
	return []string{e.File, e.Kind, bytesText(e.Size), e.Range(), timeText(e.LastTime), e.Note}
}

func scanEnd(sum *walinspect.ScanSummary, w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s (%s): %d files, %s\n", sum.Target, sum.Kind, sum.Files, bytesText(sum.Size))
	return err
}
