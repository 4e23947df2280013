package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// terminal says whether a stream is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm lets a person type the name of what is about to go. Without a terminal nobody can be asked: then --yes has to say it.
func (a *app) confirm(yes bool, consequence, word string) error {
	if yes {
		return nil
	}
	if !terminal(a.in) || !terminal(a.err) {
		return refusedf("refused: %s; nothing was changed. Nobody can be asked without a terminal: repeat it with --yes", consequence)
	}
	fmt.Fprintf(a.err, "%s. This cannot be undone.\nType %s to go on, anything else to stop: ", capital(consequence), word)
	typed, err := bufio.NewReader(io.LimitReader(a.in, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if strings.TrimSpace(typed) != word {
		return refusedf("stopped: the name was not typed; nothing was changed")
	}
	return nil
}

// refusedf is an error of a safety rule.
func refusedf(format string, args ...any) error {
	return &exitError{code: exitRefused, err: fmt.Errorf(format, args...)}
}

// capital makes the first letter a capital one.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// hint says something that is no result, on a terminal only.
func (a *app) hint(format string, args ...any) {
	if terminal(a.err) {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}
