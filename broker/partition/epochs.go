package partition

// BeginEpoch says that a new leader epoch has begun; its entry is journalled with the first append in it. An older epoch changes nothing.
func (l *Log) BeginEpoch(epoch int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = max(l.epoch, epoch)
}

// EpochEnd returns the largest epoch not above the asked one and the offset where it ends (LeaderEpochFileCache.endOffsetFor, KIP-101 and
// KIP-279); -1, -1 for an epoch that has not begun.
func (l *Log) EpochEnd(epoch int32) (found int32, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch < 0 || epoch > l.epoch {
		return -1, -1
	}
	if epoch == l.epoch {
		return epoch, l.end
	}
	next := 0
	for next < len(l.epochs) && l.epochs[next].Epoch <= epoch {
		next++
	}
	end = l.end // the newest epoch has no entry before its first append
	if next < len(l.epochs) {
		end = l.epochs[next].Start
	}
	if next == 0 {
		return epoch, end
	}
	return l.epochs[next-1].Epoch, end
}

// EpochAt returns the leader epoch of the record at an offset, -1 if unknown.
func (l *Log) EpochAt(offset int64) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return epochAt(l.epochs, offset)
}

// epochAt finds the epoch of an offset in entries.
func epochAt(entries []EpochEntry, offset int64) int32 {
	epoch := int32(-1)
	for _, e := range entries {
		if e.Start > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// addEpoch adds an epoch that begins at start. An epoch without records of its own, of which delete-records left only the entry, makes way
// for it (LeaderEpochFileCache.assign).
func addEpoch(entries []EpochEntry, epoch int32, start int64) []EpochEntry {
	n := len(entries)
	for n > 0 && entries[n-1].Start >= start {
		n--
	}
	return append(entries[:n:n], EpochEntry{Epoch: epoch, Start: start})
}

// cutEpochs drops the entries at or above end, and moves the first one up to the log start.
func cutEpochs(entries []EpochEntry, start, end int64) []EpochEntry {
	for len(entries) > 0 && entries[len(entries)-1].Start >= end {
		entries = entries[:len(entries)-1]
	}
	for len(entries) > 1 && entries[1].Start <= start {
		entries = entries[1:]
	}
	if len(entries) > 0 && entries[0].Start < start {
		entries = append([]EpochEntry{{Epoch: entries[0].Epoch, Start: start}}, entries[1:]...)
	}
	return entries
}
