//go:build !planted_apply_before_save

package consensus

// plantApplyBeforeSave is a bug that the tests must catch when it is built in: go test -tags planted_apply_before_save ./broker/consensus
const plantApplyBeforeSave = false
