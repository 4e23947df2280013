package walinspect

import (
	"encoding/hex"
	"encoding/json"
	"unicode/utf8"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/wal"
)

// Item is one line of a dump: a frame of a journal, a batch of a partition log, or a record of either.
type Item struct {
	Item      string          `json:"item"` // frame, batch or record
	File      string          `json:"file,omitempty"`
	Position  int64           `json:"position"`            // byte in File: of the group that holds a frame, of a batch
	Damage    string          `json:"damage,omitempty"`    // what is wrong; empty if it is intact
	LSN       wal.LSN         `json:"lsn,omitempty"`       // of a frame
	Type      string          `json:"type,omitempty"`      // of a frame
	Topic     string          `json:"topic,omitempty"`     // if it is known
	TopicID   string          `json:"topic_id,omitempty"`  // hexadecimal
	Partition *int32          `json:"partition,omitempty"` // not of Raft entries
	Epoch     *int32          `json:"epoch,omitempty"`     // leader epoch; of Raft entries the term is in last
	First     int64           `json:"first"`               // what it means depends on type: offsets, Raft index, ...
	Last      int64           `json:"last"`
	Length    int64           `json:"length"`            // bytes of payload or batch
	Time      int64           `json:"time,omitempty"`    // ms: of the group, of the newest record, of the record
	Batch     *BatchInfo      `json:"batch,omitempty"`   // of a frame that holds one, and of a batch
	Command   json.RawMessage `json:"command,omitempty"` // of a Raft entry: the metadata command
	Record    *RecordInfo     `json:"record,omitempty"`
}

// BatchInfo is a record batch's header.
type BatchInfo struct {
	Records       int32  `json:"records"`
	Codec         string `json:"codec"`
	CRC           string `json:"crc"`
	Control       bool   `json:"control,omitempty"`
	Transactional bool   `json:"transactional,omitempty"`
	LogAppendTime bool   `json:"log_append_time,omitempty"`
	BaseTimestamp int64  `json:"base_timestamp"`
	MaxTimestamp  int64  `json:"max_timestamp"`
	ProducerID    int64  `json:"producer_id"`
	ProducerEpoch int16  `json:"producer_epoch"`
	BaseSequence  int32  `json:"base_sequence"`
}

// RecordInfo is one record. A key or value that is not UTF-8 text is in the field that ends in _hex; null is neither.
type RecordInfo struct {
	Key      *string      `json:"key"`
	KeyHex   string       `json:"key_hex,omitempty"`
	Value    *string      `json:"value"`
	ValueHex string       `json:"value_hex,omitempty"`
	Headers  []HeaderInfo `json:"headers,omitempty"`
}

// HeaderInfo is one header of a record.
type HeaderInfo struct {
	Key      string  `json:"key"`
	Value    *string `json:"value"`
	ValueHex string  `json:"value_hex,omitempty"`
}

func batchInfo(h *batch.Header) *BatchInfo {
	return &BatchInfo{
		Records: h.Count, Codec: h.Codec().String(), CRC: hex.EncodeToString([]byte{byte(h.CRC >> 24), byte(h.CRC >> 16), byte(h.CRC >> 8), byte(h.CRC)}),
		Control: h.IsControl(), Transactional: h.IsTransactional(), LogAppendTime: h.LogAppendTime(),
		BaseTimestamp: h.BaseTimestamp, MaxTimestamp: h.MaxTimestamp,
		ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, BaseSequence: h.BaseSequence,
	}
}

func recordInfo(r *batch.Record) *RecordInfo {
	info := &RecordInfo{}
	info.Key, info.KeyHex = text(r.Key)
	info.Value, info.ValueHex = text(r.Value)
	for _, h := range r.Headers {
		hi := HeaderInfo{Key: h.Key}
		hi.Value, hi.ValueHex = text(h.Value)
		info.Headers = append(info.Headers, hi)
	}
	return info
}

// text renders bytes as a string if they are one, else in hexadecimal digits.
func text(b []byte) (s *string, digits string) {
	if b == nil {
		return nil, ""
	}
	if utf8.Valid(b) {
		t := string(b)
		return &t, ""
	}
	return nil, hex.EncodeToString(b)
}

// frameItem describes an intact frame of a group.
func (t *Target) frameItem(g *wal.Group, f *wal.Frame) *Item {
	item := &Item{
		Item: "frame", File: t.rel(g.File), Position: g.Offset, LSN: f.LSN, Type: f.Type.String(),
		First: f.First, Last: f.Last, Length: int64(len(f.Payload)), Time: g.Head.Time,
	}
	if f.Type == wal.RaftEntry {
		if command, err := metadata.CommandJSON(f.Payload); err == nil { // a configuration change of Raft's own is none
			item.Command = command
		}
		return item
	}
	item.place(t, f.ID, f.Partition, f.Epoch)
	if f.Type == wal.Batch {
		if h, err := batch.CheckStored(f.Payload); err == nil {
			item.Batch = batchInfo(&h)
		} else {
			item.Damage = err.Error() // the frame's own CRC was right: it was written so
		}
	}
	return item
}

// damagedItem describes a frame of which only the identity is left.
func (t *Target) damagedItem(g *wal.Group, id *wal.Identity) *Item {
	item := &Item{
		Item: "frame", File: t.rel(g.File), Position: g.Offset, LSN: id.LSN, Type: id.Type.String(),
		First: id.First, Last: id.Last, Length: int64(id.Length), Time: g.Head.Time, Damage: "payload destroyed",
	}
	if g.Finding != nil {
		item.Damage = string(g.Finding.Verdict) + ": " + string(g.Finding.Reason)
	}
	if id.Type != wal.RaftEntry {
		item.place(t, id.ID, id.Partition, id.Epoch)
	}
	return item
}

func (i *Item) place(t *Target, id [16]byte, partition, epoch int32) {
	i.Topic, i.TopicID = t.names[id], hex.EncodeToString(id[:])
	i.Partition, i.Epoch = &partition, &epoch
}

// recordItem describes one record of the batch that parent is.
func recordItem(parent *Item, r *batch.Record) *Item {
	return &Item{
		Item: "record", File: parent.File, Position: parent.Position, LSN: parent.LSN, Topic: parent.Topic, TopicID: parent.TopicID,
		Partition: parent.Partition, First: r.Offset, Last: r.Offset, Length: int64(len(r.Key) + len(r.Value)), Time: r.Timestamp,
		Record: recordInfo(r),
	}
}
