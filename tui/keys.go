package tui

import (
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"

	"chronik.dev/chronik/broker/datadir"
)

// keys takes what the terminal delivered at once: fast typing comes as one message of several runes. What is pasted is text, not commands.
func (m *Model) keys(k tea.KeyMsg) tea.Cmd {
	if k.Type != tea.KeyRunes || len(k.Runes) < 2 || m.typing {
		return m.key(k)
	}
	if k.Paste {
		return nil
	}
	var all tea.Cmd
	for i := range k.Runes {
		if cmd := m.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: k.Runes[i : i+1], Alt: k.Alt}); cmd != nil {
			all = tea.Batch(all, cmd)
		}
	}
	return all
}

// key is what a key does. It returns a command where something has to be asked.
func (m *Model) key(k tea.KeyMsg) tea.Cmd {
	m.flash = ""
	if m.typing {
		return m.typed(k)
	}
	if m.help {
		m.help = false
		if k.String() != "q" && k.String() != "ctrl+c" {
			return nil
		}
	}
	switch key := k.String(); key {
	case "ctrl+c", "q":
		return tea.Quit
	case "?", "h":
		m.help = true
	case " ":
		if m.paused = !m.paused; !m.paused {
			return m.ask()
		}
	case "1", "2", "3", "4", "5", "6", "7":
		return m.show(screenID(key[0] - '1'))
	case "tab", "right", "l":
		return m.show((m.screen + 1) % screenID(len(screenNames)))
	case "shift+tab", "left":
		return m.show((m.screen + screenID(len(screenNames)) - 1) % screenID(len(screenNames)))
	case "y":
		m.flash = "copied: " + m.command()
		return m.copied(m.command())
	case "esc", "backspace":
		return m.back()
	case "enter":
		return m.drill()
	default:
		return m.listKey(key)
	}
	return nil
}

// listKey is a key of a screen with a list.
func (m *Model) listKey(key string) tea.Cmd {
	l := m.list()
	if l == nil {
		return nil
	}
	moves := map[string]int{
		"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -(m.h - 8), "pgdown": m.h - 8, "ctrl+u": -(m.h - 8) / 2, "ctrl+d": (m.h - 8) / 2,
		"home": -l.total, "g": -l.total, "end": l.total, "G": l.total,
	}
	if by, ok := moves[key]; ok {
		if l.move(by) {
			return m.ask()
		}
		return nil
	}
	switch key {
	case "/":
		m.typing = true
	case "s":
		l.next()
		return m.ask()
	case "S":
		l.down, l.cursor = !l.down, 0
		return m.ask()
	}
	return nil
}

// typed is a key while the filter is written; the list follows at once.
func (m *Model) typed(k tea.KeyMsg) tea.Cmd {
	l := m.list()
	before := l.filter
	switch k.Type {
	case tea.KeyEnter:
		m.typing = false
	case tea.KeyEsc, tea.KeyCtrlC:
		m.typing, l.filter = false, ""
	case tea.KeyBackspace:
		_, n := utf8.DecodeLastRuneInString(l.filter)
		l.filter = l.filter[:len(l.filter)-n]
	case tea.KeyCtrlU:
		l.filter = ""
	case tea.KeySpace:
		l.filter += " "
	case tea.KeyRunes:
		if len(l.filter) < 200 {
			l.filter += clean(string(k.Runes))
		}
	}
	if l.filter == before {
		return nil
	}
	l.cursor = 0
	return m.ask()
}

func (m *Model) show(s screenID) tea.Cmd {
	if m.screen == s {
		return m.back()
	}
	m.screen = s
	return m.ask()
}

// list is the list on the screen, nil if there is none.
func (m *Model) list() *list {
	switch m.screen {
	case nodeID:
		return m.apis
	case topicsID:
		if m.topic != "" {
			return m.partitions
		}
		return m.topics
	case groupsID:
		if m.group != "" {
			return m.offsets
		}
		return m.groups
	case recoveryID:
		return m.incidents
	case eventsID:
		return m.events
	}
	return nil
}

// drill opens the row under the cursor.
func (m *Model) drill() tea.Cmd {
	last := m.history.Last
	if last == nil {
		return nil
	}
	switch {
	case m.screen == topicsID && m.topic == "" && last.Topics != nil:
		if at := m.topics.cursor - last.Topics.Offset; at >= 0 && at < len(last.Topics.Items) {
			m.topic, m.partitions = last.Topics.Items[at].Name, newPartitionList()
			return m.ask()
		}
	case m.screen == groupsID && m.group == "" && last.Groups != nil:
		if at := m.groups.cursor - last.Groups.Offset; at >= 0 && at < len(last.Groups.Items) {
			m.group, m.offsets = last.Groups.Items[at].Name, newOffsetList()
			return m.ask()
		}
	case m.screen == recoveryID && m.incident == "":
		if all := (recoveryScreen{view: m.view, incidents: m.incidents}).chosenIncidents(); m.incidents.cursor < len(all) {
			m.incident = all[m.incidents.cursor].ID
		}
	case m.screen == eventsID && m.event == nil && last.Events != nil:
		if at := m.events.cursor - last.Events.Offset; at >= 0 && at < len(last.Events.Items) {
			e := last.Events.Items[at]
			m.event = &e
		}
	}
	return nil
}

// back leaves what enter opened, or else the filter.
func (m *Model) back() tea.Cmd {
	switch {
	case m.screen == topicsID && m.topic != "":
		m.topic = ""
	case m.screen == groupsID && m.group != "":
		m.group = ""
	case m.screen == recoveryID && m.incident != "":
		m.incident = ""
		return nil
	case m.screen == eventsID && m.event != nil:
		m.event = nil
		return nil
	default:
		l := m.list()
		if l == nil || l.filter == "" {
			return nil
		}
		l.filter, l.cursor = "", 0
	}
	return m.ask()
}

// openIncident is the incident that enter opened, nil if there is none.
func (m *Model) openIncident() *datadir.Incident {
	if m.incident == "" || m.history.Last == nil || m.history.Last.Ledger == nil {
		return nil
	}
	all := m.history.Last.Ledger.Incidents
	for i := range all {
		if all[i].ID == m.incident {
			return &all[i]
		}
	}
	return nil
}
