//go:build planted_apply_before_save

package consensus

const plantApplyBeforeSave = true
