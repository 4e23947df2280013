package tui

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aymanbagabas/go-osc52/v2"
	tea "github.com/charmbracelet/bubbletea"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/tui/live"
)

// every is the pause between a round of answers and the next question.
const every = 2 * time.Second

// screenID numbers the screens as the keys do.
type screenID int

const (
	overviewID screenID = iota
	nodeID
	topicsID
	groupsID
	raftID
	recoveryID
	eventsID
)

// screenNames are what tabs and --screen call them.
var screenNames = [...]struct{ key, title string }{
	{"overview", "Overview"}, {"node", "Node"}, {"topics", "Topics"}, {"groups", "Groups"}, {"raft", "Raft"}, {"recovery", "Recovery"}, {"events", "Events"},
}

// Model is the root model: it keeps what is known and what the user chose. Screens are made anew for each frame.
type Model struct {
	view
	ctx       context.Context
	source    live.Source
	clipboard io.Writer

	w, h   int
	screen screenID
	round  int // of questions; an answer to an earlier one is old
	paused bool
	help   bool
	typing bool   // the filter is being written
	flash  string // one message in the last line, until the next key

	apis, topics, partitions, groups, offsets, incidents, events *list

	topic, group string       // drilled into
	incident     string       // id
	event        *admin.Event // copied, as the list goes on
}

// NewModel returns the model of a dashboard that knows nothing yet.
func NewModel(ctx context.Context, o Options) (*Model, error) {
	m := &Model{
		view: view{history: &live.History{}, theme: o.Theme, zone: time.Local, address: o.Address}, ctx: ctx, source: o.Source, clipboard: io.Discard,
		apis: newAPIList(), topics: newTopicList(), partitions: newPartitionList(), groups: newGroupList(), offsets: newOffsetList(),
		incidents: newIncidentList(), events: newEventList(),
	}
	if o.Screen == "" {
		return m, nil
	}
	for i := range screenNames {
		if screenNames[i].key == o.Screen {
			m.screen = screenID(i)
			return m, nil
		}
	}
	return nil, fmt.Errorf("there is no screen %q; there are %s", o.Screen, strings.Join(Screens(), ", "))
}

// answer is one round.
type answer struct {
	round    int
	snapshot *live.Snapshot
}

// due says that it is time for the next round.
type due struct{ round int }

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd { return m.ask() }

// ask begins a round.
func (m *Model) ask() tea.Cmd {
	m.round++
	round, want, ctx, source := m.round, m.want(), m.ctx, m.source
	return func() tea.Msg { return answer{round, source.Poll(ctx, want)} }
}

// want is what the screen shows.
func (m *Model) want() live.Want {
	w := live.Want{After: m.history.After()}
	switch m.screen {
	case overviewID:
		w.Groups = &live.Query{Sort: "-lag", Limit: 12}
		w.Topics = &live.Query{Sort: "-size", Limit: 12}
		w.Events = &live.Query{Sort: "-seq", Limit: 24}
		w.Recovery = m.node() == nil // a recovering node has nothing else to tell
	case topicsID:
		w.Topic = m.topic
		if m.topic == "" {
			w.Topics = m.topics.query()
		} else {
			w.Partitions = m.partitions.query()
		}
	case groupsID:
		w.Group = m.group
		if m.group == "" {
			w.Groups = m.groups.query()
		}
	case recoveryID:
		w.Recovery = true
	case eventsID:
		w.Events = m.events.query()
	}
	return w
}

// Update implements tea.Model. It does no I/O: a Cmd does.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
	case answer:
		if msg.round != m.round {
			return m, nil // the question changed meanwhile, and its own answer is on the way
		}
		if !m.paused {
			m.history.Add(msg.snapshot)
		}
		round := m.round
		return m, tea.Tick(every, func(time.Time) tea.Msg { return due{round} })
	case due:
		if msg.round == m.round {
			return m, m.ask()
		}
	case tea.KeyMsg:
		return m, m.keys(msg)
	}
	return m, nil
}

// command is the command that shows what the screen shows.
func (m *Model) command() string {
	admin := "http://" + m.address + "/admin/v1/"
	bootstrap, dir := "", "DIR"
	if n := m.node(); n != nil {
		bootstrap, dir = " --bootstrap "+strings.Fields(n.Kafka + " 127.0.0.1:9092")[0], n.Directory
	}
	switch m.screen {
	case nodeID:
		return "curl -s http://" + m.address + "/metrics"
	case topicsID:
		if m.topic != "" {
			return "chronik topic describe " + quote(m.topic) + bootstrap
		}
		return "chronik topic list" + bootstrap
	case groupsID:
		if m.group != "" {
			return "chronik group describe " + quote(m.group) + bootstrap
		}
		return "chronik group list" + bootstrap
	case raftID:
		return "chronik raft dump --live " + quote(dir)
	case recoveryID:
		if i := m.openIncident(); i != nil && i.Next != "" {
			return i.Next
		}
		return "chronik wal verify --live " + quote(dir)
	case eventsID:
		return "curl -s " + admin + "events"
	}
	return "chronik top --once --admin " + m.address
}

// quote makes a word of a shell of any text.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// copied asks the terminal to put text into its clipboard (OSC 52), through tmux where there is one.
func (m *Model) copied(text string) tea.Cmd {
	to := m.clipboard
	return func() tea.Msg {
		seq := osc52.New(text)
		if os.Getenv("TMUX") != "" {
			seq = seq.Tmux()
		}
		_, _ = seq.WriteTo(to) // a terminal that does not take it shows the command all the same
		return nil
	}
}
