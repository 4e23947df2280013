package recovery

// Stage is what a recovery is doing.
type Stage string

// The stages of Boot, in their order.
const (
	StageSurvey Stage = "survey" // the journal is read and judged; nothing changes yet
	StageReplay Stage = "replay" // the journal is read again and applied to the partition files
	StageOpen   Stage = "open"   // what lies past the floor is copied to a new segment; partitions are opened
)

// Progress says how far a recovery is.
type Progress struct {
	Stage       Stage
	Done, Total int64 // bytes of journal in this stage; Total is about right, 0 where the stage reads none
}

// meter makes Progress of what is read.
type meter struct {
	tell func(Progress) // nil: nobody looks
	now  Progress
}

func (m *meter) enter(s Stage) {
	m.now = Progress{Stage: s}
	m.report()
}

// expect is told how much will be read in this stage.
func (m *meter) expect(bytes int64) { m.now.Total = bytes }

// advance is told how much was read since the last call.
func (m *meter) advance(bytes int64) {
	m.now.Done += bytes
	m.now.Total = max(m.now.Total, m.now.Done)
	m.report()
}

func (m *meter) report() {
	if m.tell != nil {
		m.tell(m.now)
	}
}
