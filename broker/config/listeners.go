package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Endpoint is one listener: NAME://HOST:PORT.
type Endpoint struct {
	Name string
	Host string // empty = every interface; an IPv6 address without brackets
	Port int    // 0 to 65535; 0 = pick one
}

// Address is HOST:PORT as package net takes it.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

func (e Endpoint) String() string { return e.Name + "://" + e.Address() }

// ParseEndpoint parses NAME://HOST:PORT.
func ParseEndpoint(text string) (Endpoint, error) {
	name, address, ok := strings.Cut(strings.TrimSpace(text), "://")
	if !ok || name == "" {
		return Endpoint{}, fmt.Errorf("%q is not NAME://HOST:PORT", text)
	}
	host, port, err := splitHostPort(address)
	if err != nil {
		return Endpoint{}, err
	}
	return Endpoint{Name: strings.ToUpper(name), Host: host, Port: port}, nil
}

func splitHostPort(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not HOST:PORT", address)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q of %q is not between 0 and 65535", text, address)
	}
	return host, int(port), nil
}

func parseEndpoints(text string) ([]Endpoint, error) {
	var all []Endpoint
	for _, part := range splitList(text) {
		e, err := ParseEndpoint(part)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.Name == e.Name {
				return nil, fmt.Errorf("two listeners are named %s; names must differ", e.Name)
			}
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no listener; write NAME://HOST:PORT")
	}
	return all, nil
}

// splitList splits a LIST value: commas, blanks around them ignored, empty elements dropped.
func splitList(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

func listenerList(k *Key) {
	k.Valid = "NAME://HOST:PORT, comma separated"
	k.check = func(text string) error { _, err := parseEndpoints(text); return err }
}

func hostPort(k *Key) {
	k.Valid = "HOST:PORT or empty"
	k.check = func(text string) error {
		if text == "" {
			return nil
		}
		_, _, err := splitHostPort(text)
		return err
	}
}

func protocolMap(k *Key) {
	k.Valid = "NAME:PLAINTEXT, comma separated"
	k.check = func(text string) error {
		for _, part := range splitList(text) {
			name, protocol, ok := strings.Cut(part, ":")
			if !ok || name == "" {
				return fmt.Errorf("%q is not NAME:PROTOCOL", part)
			}
			if !strings.EqualFold(protocol, "PLAINTEXT") {
				return fmt.Errorf("protocol %s is not offered yet; only PLAINTEXT is", protocol)
			}
		}
		return nil
	}
}

func oneDirectory(k *Key) {
	k.Valid = "one directory"
	k.check = func(text string) error {
		if n := len(splitList(text)); n != 1 {
			return fmt.Errorf("%d directories; chronik keeps one data directory per node", n)
		}
		return nil
	}
}

// Listeners returns the addresses to bind.
func (c *Config) Listeners() []Endpoint {
	all, _ := parseEndpoints(c.text("listeners"))
	return all
}

// Advertised returns what clients are told, given the listeners as they were bound (ports known) and the name of this host, which stands in
// for a listener on every interface. An advertised port 0 means the bound port.
func (c *Config) Advertised(bound []Endpoint, hostname string) []Endpoint {
	named := map[string]Endpoint{}
	if text := c.text("advertised.listeners"); text != "" {
		all, _ := parseEndpoints(text)
		for _, e := range all {
			named[e.Name] = e
		}
	}
	told := make([]Endpoint, 0, len(bound))
	for _, e := range bound {
		if a, ok := named[e.Name]; ok {
			if a.Port == 0 {
				a.Port = e.Port
			}
			e = a
		} else if wildcard(e.Host) {
			e.Host = hostname
		}
		told = append(told, e)
	}
	return told
}

func wildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func (c *Config) validateListeners() error {
	names := map[string]bool{}
	protocols := map[string]bool{"PLAINTEXT": true}
	for _, part := range splitList(c.text("listener.security.protocol.map")) {
		name, _, _ := strings.Cut(part, ":")
		protocols[strings.ToUpper(name)] = true
	}
	for _, e := range c.Listeners() {
		names[e.Name] = true
		if !protocols[e.Name] {
			return &Error{Key: "listeners", Value: e.String(), Message: "has no protocol; add " + e.Name +
				":PLAINTEXT to listener.security.protocol.map"}
		}
	}
	text := c.text("advertised.listeners")
	if text == "" {
		return nil
	}
	all, err := parseEndpoints(text)
	if err != nil {
		return &Error{Key: "advertised.listeners", Value: text, Message: err.Error()}
	}
	for _, e := range all {
		if !names[e.Name] {
			return &Error{Key: "advertised.listeners", Value: e.String(), Message: "no listener has this name; listeners=" + c.text("listeners")}
		}
		if wildcard(e.Host) {
			return &Error{Key: "advertised.listeners", Value: e.String(), Message: "clients cannot connect to this host; name one they can reach"}
		}
	}
	return nil
}
