package main

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

type walVerifyOptions struct {
	walOptions
	fast, deep bool
	bitflip    bool
}

func newWalVerify(a *app) *cobra.Command {
	o := &walVerifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify PATH",
		Short: "Find every damage and say what it means",
		Long: `Read everything and report every finding: file, byte, record, what it held, why it is judged so, and the command to run next.
Reading goes on past damage.

The verdicts: "torn" is an interrupted write that was never acknowledged; "undecided" is damage to what may have been
acknowledged; "corrupt" is damage to what was; "io-error" is a disk that does not read; "notice" needs no decision.

--fast checks checksums and chains. The default also compares partition logs with checkpoint and journal and reads the
small files. --deep also decompresses and decodes every record and rebuilds every index to compare it.

Exit codes: 0 clean, 3 corrupt, 4 torn tail only, 5 the node is running, 6 I/O error, 10 undecided, 15 unknown version.`,
		Example: `  chronik wal verify ./chronik-data
  chronik wal verify --deep -o json ./chronik-data
  chronik wal verify --format kafka /var/lib/kafka/data`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return o.read(a, args[0], func(target *walinspect.Target, bar *progress) error {
				target.Bitflip = o.bitflip
				return a.verify("wal-verify", target, levelOf(o.fast, o.deep), bar)
			})
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.fast, "fast", false, "checksums and chains only")
	cmd.Flags().BoolVar(&o.deep, "deep", false, "decode everything, compare everything")
	cmd.Flags().BoolVar(&o.bitflip, "bitflip", false, "name the single flipped bit that explains a damage, if one does")
	cmd.MarkFlagsMutuallyExclusive("fast", "deep")
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// verify prints a document with every finding of a target; the gravest decides the exit code.
func (a *app) verify(kind string, target *walinspect.Target, level walinspect.Level, bar *progress) error {
	p := a.newPrinter(kind, prose[*walinspect.Finding, *walinspect.Verification]{each: findingText, end: verificationText})
	sum, err := target.Verify(level, func(f *walinspect.Finding) error {
		bar.clear()
		return p.Item(f)
	})
	if err != nil && !errors.Is(err, walinspect.ErrStarted) {
		return fmt.Errorf("cannot verify %s: %w", target.Path, err)
	}
	bar.clear()
	if printErr := p.Close(sum); printErr != nil {
		return printErr
	}
	if err != nil {
		return started(target.Path, "findings past its checkpoint were left out; ", err)
	}
	return verdictError(sum.Verdict)
}

// verdictCode is the exit code for the gravest finding.
func verdictCode(v wal.Verdict) int {
	switch v {
	case wal.Torn:
		return exitTorn
	case wal.Undecided:
		return exitUndecided
	case wal.Corrupt:
		return exitCorrupt
	case wal.IOError:
		return exitIO
	case wal.UnknownVersion:
		return exitVersion
	}
	return exitClean
}

// findingText renders a finding as a short paragraph: they are too wide for a table, and each is read as a whole.
func findingText(f *walinspect.Finding, w io.Writer) error {
	where := fmt.Sprintf("%s byte %d", f.File, f.Offset)
	if f.Length > 0 {
		where += fmt.Sprintf(", %d bytes", f.Length)
	}
	fmt.Fprintf(w, "%s: %s: %s: %s\n", f.Verdict, where, f.Record, f.Reason)
	if f.Rule != "" {
		fmt.Fprintf(w, "  rule:     %s\n", f.Rule)
	}
	if f.Topic != "" {
		holds := f.Topic
		if f.Partition != nil {
			holds += fmt.Sprintf("-%d", *f.Partition)
		}
		if f.FirstOffset != nil && f.LastOffset != nil {
			holds += fmt.Sprintf(" offsets %d-%d", *f.FirstOffset, *f.LastOffset)
		}
		fmt.Fprintf(w, "  in:       %s\n", holds)
	}
	if f.FirstLSN != 0 {
		fmt.Fprintf(w, "  LSN:      %d-%d\n", f.FirstLSN, f.LastLSN)
	}
	for _, l := range f.Lost {
		fmt.Fprintf(w, "  lost:     %s\n", l)
	}
	if f.Incomplete {
		fmt.Fprintln(w, "  lost:     perhaps more that cannot be named")
	}
	if f.Bitflip != nil {
		fmt.Fprintf(w, "  bitflip:  %s\n", f.Bitflip)
	}
	_, err := fmt.Fprintf(w, "  evidence: %s\n  next:     %s\n", f.Evidence, f.Next)
	return err
}

func verificationText(s *walinspect.Verification, w io.Writer) error {
	verdict := "clean"
	if s.Verdict != wal.Notice {
		verdict = string(s.Verdict)
	}
	var counts []string
	for v, n := range s.Findings {
		counts = append(counts, fmt.Sprintf("%d %s", n, v))
	}
	sort.Strings(counts)
	if len(counts) == 0 {
		counts = []string{"no findings"}
	}
	fmt.Fprintf(w, "%s: %s (%s): %s\n", s.Target, verdict, s.Kind, strings.Join(counts, ", "))
	_, err := fmt.Fprintf(w, "%s read in %.1f s (%s)%s\n", bytesText(s.Bytes), s.Seconds, s.Level, s.Scope())
	return err
}
