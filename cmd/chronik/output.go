package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
	"github.com/spf13/cobra"
)

// Formats of -o.
const (
	formatTable  = "table"
	formatJSON   = "json"
	formatYAML   = "yaml"
	formatNDJSON = "ndjson"
)

// formatFlag adds -o to a command that prints data.
func (a *app) formatFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.format, "output", "o", formatTable, "`format` of the output: table, json, yaml or ndjson")
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		switch a.format {
		case formatTable, formatJSON, formatYAML, formatNDJSON:
		default:
			return usagef("-o %s is no format; use table, json, yaml or ndjson", a.format)
		}
		if check != nil {
			return check(cmd, args)
		}
		return nil
	}
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions( // fails only for a flag that does not exist
		[]string{formatTable, formatJSON, formatYAML, formatNDJSON}, cobra.ShellCompDirectiveNoFileComp))
}

// printer writes one document: a stream of items, then a summary, in memory that does not depend on their number.
//
//	json:   {"kind":KIND,"version":1,"items":[...],"summary":{...}}
//	yaml:   the same
//	ndjson: {"kind":KIND,"version":1,"item":{...}} per item, then {"kind":KIND,"version":1,"summary":{...}}
//	table:  what text says of each
type printer struct {
	w      *bufio.Writer
	format string
	kind   string
	items  int
	text   textual
}

// textual renders items and summary for people.
type textual interface {
	item(w io.Writer, item any) error
	summary(w io.Writer, summary any) error
}

// documentVersion is the version of the envelope and of everything in it; it rises when a field changes its meaning or goes.
const documentVersion = 1

// newPrinter starts a document of a kind such as "wal-verify".
func (a *app) newPrinter(kind string, text textual) *printer {
	return &printer{w: bufio.NewWriterSize(a.out, 64<<10), format: a.format, kind: "chronik/" + kind, text: text}
}

// head writes what comes before the first item.
func (p *printer) head() error {
	var err error
	switch p.format {
	case formatJSON:
		_, err = fmt.Fprintf(p.w, "{\"kind\":%q,\"version\":%d,\"items\":[", p.kind, documentVersion)
	case formatYAML:
		_, err = fmt.Fprintf(p.w, "kind: %s\nversion: %d\nitems:", p.kind, documentVersion)
	}
	return err
}

// Item writes one item.
func (p *printer) Item(item any) error {
	if p.items == 0 {
		if err := p.head(); err != nil {
			return err
		}
	}
	p.items++
	if p.format == formatTable {
		return p.text.item(p.w, item)
	}
	body, err := marshal(item)
	if err != nil {
		return err
	}
	switch p.format {
	case formatJSON:
		if p.items > 1 {
			_ = p.w.WriteByte(',') // bufio keeps the error for Flush
		}
		_, err = fmt.Fprintf(p.w, "\n  %s", body)
	case formatNDJSON:
		_, err = fmt.Fprintf(p.w, "{\"kind\":%q,\"version\":%d,\"item\":%s}\n", p.kind, documentVersion, body)
	case formatYAML:
		_ = p.w.WriteByte('\n')
		err = writeYAML(p.w, body, "  - ", "    ")
	}
	return err
}

// Flush writes what a reader could wait for.
func (p *printer) Flush() error { return p.w.Flush() }

// Close writes the summary and flushes. A nil summary is left out.
func (p *printer) Close(summary any) error {
	if p.items == 0 {
		if err := p.head(); err != nil {
			return err
		}
	}
	if err := p.close(summary); err != nil {
		return err
	}
	return p.w.Flush()
}

func (p *printer) close(summary any) error {
	if p.format == formatTable {
		return p.text.summary(p.w, summary)
	}
	body, err := marshal(summary)
	if err != nil {
		return err
	}
	switch p.format {
	case formatJSON:
		if p.items > 0 {
			_ = p.w.WriteByte('\n')
		}
		_, err = fmt.Fprintf(p.w, "],\n\"summary\":%s}\n", body)
	case formatNDJSON:
		_, err = fmt.Fprintf(p.w, "{\"kind\":%q,\"version\":%d,\"summary\":%s}\n", p.kind, documentVersion, body)
	case formatYAML:
		if p.items == 0 {
			_, _ = p.w.WriteString(" []")
		}
		_, _ = p.w.WriteString("\nsummary:\n")
		err = writeYAML(p.w, body, "  ", "  ")
		_ = p.w.WriteByte('\n')
	}
	return err
}

// document prints one value in the envelope {"kind":KIND,"version":1,"data":{...}}; text renders it for people.
func document[T any](a *app, kind string, value T, text func(T, io.Writer) error) error {
	if a.format == formatTable {
		return text(value, a.out)
	}
	body, err := marshal(struct {
		Kind    string `json:"kind"`
		Version int    `json:"version"`
		Data    T      `json:"data"`
	}{"chronik/" + kind, documentVersion, value})
	if err != nil {
		return err
	}
	if a.format == formatYAML {
		if err := writeYAML(a.out, body, "", ""); err != nil {
			return err
		}
		body = nil
	}
	_, err = fmt.Fprintf(a.out, "%s\n", body)
	return err
}

// marshal is json.Marshal without escapes for HTML: file names and reasons stay readable.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// maxTableRows is where a table stops being laid out (tablewriter needs 40 ms per 1,000 rows) and goes on as tab-separated text.
const maxTableRows = 2000

// table lays out rows in columns as wide as their content. It starts at Flush or when it has maxTableRows.
type table struct {
	w       io.Writer
	headers []string
	rows    [][]string
	plain   bool
}

// Row adds a row.
func (t *table) Row(cells ...string) error {
	if t.plain {
		return t.line(cells)
	}
	t.rows = append(t.rows, cells)
	if len(t.rows) <= maxTableRows {
		return nil
	}
	t.plain = true
	for _, row := range append([][]string{t.headers}, t.rows...) {
		if err := t.line(row); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

func (t *table) line(cells []string) error {
	_, err := fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	return err
}

// Flush prints the table unless it went on as text.
func (t *table) Flush() error {
	if t.plain || len(t.rows) == 0 {
		return nil
	}
	layout := tablewriter.NewTable(t.w,
		tablewriter.WithConfig(tablewriter.Config{
			Header: tw.CellConfig{Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone}, Alignment: tw.CellAlignment{Global: tw.AlignLeft}},
			Row:    tw.CellConfig{Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone}, Alignment: tw.CellAlignment{Global: tw.AlignLeft}},
		}),
		tablewriter.WithRendition(tw.Rendition{
			Borders:  tw.BorderNone,
			Settings: tw.Settings{Separators: tw.Separators{BetweenColumns: tw.Off, BetweenRows: tw.Off}, Lines: tw.Lines{ShowHeaderLine: tw.Off}},
		}),
	)
	layout.Header(t.headers)
	if err := layout.Bulk(t.rows); err != nil {
		return err
	}
	return layout.Render()
}
