package main

import (
	"fmt"
	"net"
	"os"
)

// notifySystemd tells a supervisor that speaks sd_notify(3) how the node is: "READY=1", "STOPPING=1", "STATUS=...",
// "EXTEND_TIMEOUT_USEC=...". Without NOTIFY_SOCKET, that is, not under systemd with Type=notify, it does nothing.
func notifySystemd(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}) // "@name", the abstract namespace, included
	if err != nil {
		return fmt.Errorf("cannot tell systemd %q: %w", state, err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		_ = conn.Close()
		return fmt.Errorf("cannot tell systemd %q: %w", state, err)
	}
	return conn.Close()
}
