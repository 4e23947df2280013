package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleDB is pebble with its newest format: batches written with pebble.Sync; the first quarter is flushed to an sstable, the rest is in its log.
type pebbleDB struct{}

// pebbleLog keeps errors. Pebble's Fatalf must not return; a stop by intent is a refusal and not a crash, so it is answered as one.
type pebbleLog struct{ lines }

func (l *pebbleLog) Infof(string, ...any)           {}
func (l *pebbleLog) Errorf(format string, a ...any) { fmt.Fprintf(l, format+"\n", a...) }
func (l *pebbleLog) Fatalf(format string, a ...any) {
	say(answer{Outcome: refused, Text: fmt.Sprintf(format, a...), Last: true})
	os.Exit(0)
}

func openPebble(dir string, log *pebbleLog) (*pebble.DB, error) {
	return pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: log})
}

func key(i int) []byte { return fmt.Appendf(nil, "key %05d", i) }

func (pebbleDB) write(dir string, half func() error) (func() error, error) {
	db, err := openPebble(dir, &pebbleLog{})
	if err != nil {
		return nil, err
	}
	for i := 0; i < entries; i += group {
		switch i {
		case entries / 4:
			err = db.Flush()
		case entries / 2:
			err = half()
		}
		if err != nil {
			return nil, err
		}
		b := db.NewBatch()
		for j := i; j < i+group; j++ {
			if err := b.Set(key(j), value(j), nil); err != nil {
				return nil, err
			}
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return nil, err
		}
	}
	return db.Close, nil
}

func (pebbleDB) start(dir string) (*seen, error) {
	s, log := newSeen(), &pebbleLog{}
	db, err := openPebble(dir, log)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		v, closer, err := db.Get(key(i))
		switch {
		case errors.Is(err, pebble.ErrNotFound):
		case err != nil:
			s.unreadable[i] = err.Error()
		default:
			s.values[i] = append([]byte{}, v...)
			if err := closer.Close(); err != nil {
				return nil, err
			}
		}
	}
	s.reports = log.all()
	if err := db.Close(); err != nil && len(s.unreadable) == 0 {
		s.reports = append(s.reports, err.Error())
	}
	return s, nil
}
