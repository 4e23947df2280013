package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// tabular renders items of type I as rows of one table, and a summary of type S below it.
type tabular[I, S any] struct {
	headers []string
	row     func(I) []string
	end     func(S, io.Writer) error
	table   *table
}

func (t *tabular[I, S]) item(w io.Writer, value any) error {
	i, ok := value.(I)
	if !ok {
		return fmt.Errorf("no %T but %T", i, value)
	}
	if t.table == nil {
		t.table = &table{w: w, headers: t.headers}
	}
	return t.table.Row(t.row(i)...)
}

func (t *tabular[I, S]) summary(w io.Writer, value any) error {
	s, ok := value.(S)
	if !ok {
		return fmt.Errorf("no %T but %T", s, value)
	}
	if t.table != nil {
		if err := t.table.Flush(); err != nil {
			return err
		}
	}
	return t.end(s, w)
}

// prose renders items of type I one by one, and a summary of type S behind them.
type prose[I, S any] struct {
	each func(I, io.Writer) error
	end  func(S, io.Writer) error
}

func (t prose[I, S]) item(w io.Writer, value any) error {
	i, ok := value.(I)
	if !ok {
		return fmt.Errorf("no %T but %T", i, value)
	}
	return t.each(i, w)
}

func (t prose[I, S]) summary(w io.Writer, value any) error {
	s, ok := value.(S)
	if !ok {
		return fmt.Errorf("no %T but %T", s, value)
	}
	return t.end(s, w)
}

// counted is "1 topic" or "3 topics".
func counted[N int | int32 | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(int64(n), 10) + " " + one + "s"
}

// numbers joins broker ids.
func numbers(ids []int32) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.Itoa(int(id))
	}
	return strings.Join(parts, ",")
}

// orDash keeps an empty cell visible.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
