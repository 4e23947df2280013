package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// raftState is what the admin endpoint says of Raft; Recovered is what the disk held at this start, before the node campaigned.
type raftState struct {
	Term      uint64         `json:"term"`
	Vote      uint64         `json:"vote"`
	Commit    uint64         `json:"commit"`
	Applied   uint64         `json:"applied"`
	LastIndex uint64         `json:"last_index"`
	ConfState string         `json:"conf_state"`
	Recovered *raftRecovered `json:"recovered"`
}

type raftRecovered struct {
	Term      uint64 `json:"term"`
	Vote      uint64 `json:"vote"`
	Commit    uint64 `json:"commit"`
	LastIndex uint64 `json:"last_index"`
	ConfState string `json:"conf_state"`
}

// raftOf asks the admin endpoint at an address.
func raftOf(ctx context.Context, admin string) (*raftState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/admin/v1/raft", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin endpoint: %s", resp.Status)
	}
	var answer struct {
		Data raftState `json:"data"`
	}
	return &answer.Data, json.NewDecoder(resp.Body).Decode(&answer)
}

// sameRaft says what of the Raft state that was seen before a kill is not there after it.
func sameRaft(before, after *raftState) error {
	if after.Recovered == nil {
		return errors.New("the node does not say what it recovered of Raft")
	}
	r := after.Recovered
	switch {
	case r.Term != before.Term:
		return fmt.Errorf("term was %d before the kill, %d after it", before.Term, r.Term)
	case r.Vote != before.Vote:
		return fmt.Errorf("vote was %d before the kill, %d after it", before.Vote, r.Vote)
	case r.LastIndex < before.LastIndex || after.Commit < before.Commit: // a commit alone is not synced: the log is, and commits again
		return fmt.Errorf("commit %d and last index %d before the kill, %d and %d after it", before.Commit, before.LastIndex, after.Commit, r.LastIndex)
	case r.ConfState != before.ConfState:
		return fmt.Errorf("ConfState was %s before the kill, %s after it", before.ConfState, r.ConfState)
	}
	return nil
}
