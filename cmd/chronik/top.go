package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"chronik.dev/chronik/tui"
	"chronik.dev/chronik/tui/live"
)

const (
	defaultAdmin = "127.0.0.1:9644"
	onceWidth    = 100 // columns of text that goes to no terminal
)

// topOptions are the flags of `chronik top`.
type topOptions struct {
	admin, screen, record, play string
	once, ascii                 bool
}

func newTop(a *app) *cobra.Command {
	o := &topOptions{}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch a node, live",
		Long: `Watch a node, live: verdict, throughput, latency, headroom, topics, groups with lag, Raft, recovery with its progress, events.

It asks the node's admin endpoint each 2 s and keeps showing the last values, with their age, while the node does not answer.
With --once, with -o, or without a terminal it asks once, prints and ends (exit 11 if nobody answers). ? shows the keys; none of them
changes the cluster. NO_COLOR in the environment turns colours off.`,
		Example: `  chronik top
  chronik top --admin 127.0.0.1:9644 --screen groups
  chronik top --once
  chronik top -o json`,
		GroupID: groupObserve,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.top(o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.admin, "admin", "", "`HOST:PORT` of the node's admin endpoint (else "+envAdminListen+", else "+defaultAdmin+")")
	f.StringVar(&o.screen, "screen", "", "`NAME` of the screen to begin with: "+strings.Join(tui.Screens(), ", "))
	f.BoolVar(&o.once, "once", false, "ask once, print, end")
	f.BoolVar(&o.ascii, "ascii", false, "no other characters than those of ASCII")
	f.StringVar(&o.record, "record", "", "write every answer to `FILE`, which must not exist")
	f.StringVar(&o.play, "play", "", "show a recorded `FILE` instead of a node")
	a.formatFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("screen", cobra.FixedCompletions(tui.Screens(), cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that does not exist
	_ = cmd.RegisterFlagCompletionFunc("admin", cobra.NoFileCompletions)
	return marked(cmd, readOnly)
}

// top shows the dashboard, or prints one screen of it.
func (a *app) top(o *topOptions) (err error) {
	address := cmp.Or(o.admin, os.Getenv(envAdminListen), defaultAdmin)
	source, done, err := o.source(address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	options := tui.Options{Source: source, Address: address, Theme: tui.Color, Screen: o.screen}
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		options.Theme = tui.Mono
	}
	if o.ascii {
		options.Theme = options.Theme.ASCII()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	in, out := console(a.in), console(a.out)
	if o.once || a.format != formatTable || in == nil || out == nil {
		return a.topOnce(ctx, options, out)
	}
	if err := tui.Run(ctx, options, in, out); err != nil {
		return usageOf(o.screen, err)
	}
	return nil
}

// usageOf makes an unknown screen the user's mistake.
func usageOf(screen string, err error) error {
	for _, known := range append(tui.Screens(), "") {
		if screen == known {
			return err
		}
	}
	return usage(err)
}

// source is the node, or a recording of one; done ends it.
func (o *topOptions) source(address string) (source live.Source, done func() error, err error) {
	none := func() error { return nil }
	if o.play != "" {
		f, err := os.Open(o.play)
		if err != nil {
			return nil, nil, err
		}
		rec, err := live.ReadRecording(f)
		return rec, none, errors.Join(err, f.Close())
	}
	source = live.NewHTTP(address)
	if o.record == "" {
		return source, none, nil
	}
	f, err := os.OpenFile(o.record, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot record: %w", err)
	}
	r := &live.Recorder{Source: source, To: f}
	return r, func() error { return errors.Join(r.Err, f.Close()) }, nil
}

// console returns a stream as a file if it is a terminal.
func console(stream any) *os.File {
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// topOnce prints one answer.
func (a *app) topOnce(ctx context.Context, o tui.Options, out *os.File) error {
	width := onceWidth
	if out != nil {
		if w, _, err := term.GetSize(int(out.Fd())); err == nil && w > 0 {
			width = w
		}
	}
	var text strings.Builder
	s, err := tui.Once(ctx, o, &text, width)
	if err != nil {
		return usageOf(o.Screen, err)
	}
	if s.Err != "" {
		return &exitError{exitUnreachable, fmt.Errorf("no answer from the admin endpoint at %s: %s; start a node with 'chronik serve', or name its endpoint with --admin HOST:PORT", o.Address, s.Err)}
	}
	return document(a, "top", s, func(_ *live.Snapshot, w io.Writer) error {
		_, err := io.WriteString(w, text.String())
		return err
	})
}
