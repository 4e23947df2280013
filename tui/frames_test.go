package tui

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"chronik.dev/chronik/tui/live"
)

var update = flag.Bool("update", false, "write the frames in testdata/frames anew")

var themes = map[string]Theme{"color": Color, "mono": Mono, "ascii": Mono.ASCII()}

// session reads a recorded session of testdata/sessions.
func session(t testing.TB, name string) *live.Recording {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "sessions", name+".ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rec, err := live.ReadRecording(f)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// watch plays a session to a model of a window, all of it.
func watch(t testing.TB, rec *live.Recording, theme Theme, w, h int) *Model {
	t.Helper()
	m, err := NewModel(context.Background(), Options{Source: rec, Address: "127.0.0.1:9644", Theme: theme})
	if err != nil {
		t.Fatal(err)
	}
	m.zone = time.UTC
	m.Update(tea.WindowSizeMsg{Width: w, Height: h})
	for range rec.Snapshots {
		m.Update(m.ask()())
	}
	return m
}

// press sends keys and carries out what they ask for, but for the next tick.
func press(m *Model, keys ...string) {
	named := map[string]tea.KeyType{"enter": tea.KeyEnter, "esc": tea.KeyEsc, "down": tea.KeyDown, "up": tea.KeyUp, "tab": tea.KeyTab, "space": tea.KeySpace, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd}
	for _, k := range keys {
		if plain, ok := map[string]string{"slash": "/", "help": "?"}[k]; ok { // no names of files
			k = plain
		}
		msg := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
		if kind, ok := named[k]; ok {
			msg = tea.KeyMsg{Type: kind}
		}
		if _, cmd := m.Update(msg); cmd != nil {
			if answer, ok := cmd().(answer); ok {
				m.Update(answer)
			}
		}
	}
}

// TestFrames draws every file of testdata/frames anew. The name says what: SESSION.WIDTHxHEIGHT.THEME.KEY... with the keys that lead there, or
// SESSION.once.THEME. The escape character is written as ␛.
func TestFrames(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "frames", "*.txt"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d frames, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			part := strings.Split(t.Name()[len("TestFrames/"):], ".")
			theme, ok := themes[part[2]]
			if len(part) < 3 || !ok {
				t.Fatal("the name is not SESSION.WxH.THEME.KEYS")
			}
			var got string
			if part[1] == "once" {
				m := watch(t, session(t, part[0]), theme, 80, 24)
				got = m.plainText(100)
			} else {
				size := strings.Split(part[1], "x")
				w, err1 := strconv.Atoi(size[0])
				h, err2 := strconv.Atoi(size[len(size)-1])
				if err1 != nil || err2 != nil {
					t.Fatal("no size", part[1])
				}
				m := watch(t, session(t, part[0]), theme, w, h)
				press(m, part[3:]...)
				got = m.View()
				fits(t, got, w, h)
			}
			got = strings.ReplaceAll(got, "\x1b", "␛") + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if part[2] != "color" && strings.Contains(got, "␛") {
				t.Error("escape codes without colour")
			}
			if part[2] == "ascii" && strings.ContainsFunc(got, func(r rune) bool { return r > '~' }) {
				t.Error("characters past ASCII")
			}
		})
	}
}

// fits checks the shape of a frame.
func fits(t interface{ Errorf(string, ...any) }, frame string, w, h int) {
	rows := strings.Split(frame, "\n")
	if len(rows) != h {
		t.Errorf("%d lines in a window of %d", len(rows), h)
	}
	for i, row := range rows {
		if n := ansi.StringWidth(row); n > w {
			t.Errorf("line %d is %d cells wide in a window of %d: %q", i, n, w, row)
		}
	}
}
