package consensus

import (
	"fmt"
	"log/slog"
)

// raftLogger gives raft's messages to slog. Panics stay panics: the node's goroutine turns them into a failure.
type raftLogger struct{ l *slog.Logger }

func (r raftLogger) Debug(v ...any)            { r.l.Debug("raft", "message", fmt.Sprint(v...)) }
func (r raftLogger) Debugf(f string, v ...any) { r.l.Debug("raft", "message", fmt.Sprintf(f, v...)) }

// Info and Infof are debug messages here: elections are logged by the node itself.
func (r raftLogger) Info(v ...any)            { r.Debug(v...) }
func (r raftLogger) Infof(f string, v ...any) { r.Debugf(f, v...) }
func (r raftLogger) Warning(v ...any)         { r.l.Warn("raft", "message", fmt.Sprint(v...)) }
func (r raftLogger) Warningf(f string, v ...any) {
	r.l.Warn("raft", "message", fmt.Sprintf(f, v...))
}
func (r raftLogger) Error(v ...any)            { r.l.Error("raft", "message", fmt.Sprint(v...)) }
func (r raftLogger) Errorf(f string, v ...any) { r.l.Error("raft", "message", fmt.Sprintf(f, v...)) }
func (r raftLogger) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }
func (r raftLogger) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
func (r raftLogger) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (r raftLogger) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
