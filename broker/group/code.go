package group

// Code is a Kafka error code.
type Code int16

// The codes that groups answer with.
const (
	None                    Code = 0
	OffsetMetadataTooLarge  Code = 12
	LoadInProgress          Code = 14
	NotAvailable            Code = 15 // COORDINATOR_NOT_AVAILABLE
	NotCoordinator          Code = 16
	IllegalGeneration       Code = 22
	InconsistentProtocol    Code = 23
	InvalidGroupID          Code = 24
	UnknownMemberID         Code = 25
	InvalidSessionTimeout   Code = 26
	RebalanceInProgress     Code = 27
	InvalidCommitOffsetSize Code = 28
	NonEmptyGroup           Code = 68
	GroupIDNotFound         Code = 69
	MemberIDRequired        Code = 79
	GroupMaxSizeReached     Code = 81
	FencedInstanceID        Code = 82
	SubscribedToTopic       Code = 86
)
