package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// version is set by the release build (-ldflags "-X main.version=v1.2.3").
var version = ""

// build is what `chronik version` prints.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"` // of the commit
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print build information",
		Long:    "Print the version, the commit it was built from, and the Go release and platform it was built with.",
		Example: "  chronik version\n  chronik version -o json",
		GroupID: groupObserve,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return document(a, "version", buildInfo(), build.text)
		},
	}
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// buildInfo reads what the linker recorded.
func buildInfo() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// buildDate is the commit's date, so that generated pages are the same for the same commit.
func buildDate() time.Time {
	t, err := time.Parse(time.RFC3339, buildInfo().Date)
	if err != nil {
		return time.Unix(0, 0).UTC()
	}
	return t
}

// text renders the build in one line.
func (b build) text(w io.Writer) error {
	line := "chronik " + b.Version
	if b.Commit != "" {
		line += fmt.Sprintf(" (%.12s)", b.Commit)
	}
	_, err := fmt.Fprintln(w, line, b.Go, b.Platform)
	return err
}
