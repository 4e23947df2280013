package kafka

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Feature levels that tools read the version of a cluster from: 30 is metadata.version 4.3-IV0, the release whose request versions are
// advertised, 7 the oldest that Kafka 4.3 starts from. Features whose level would be 0 (transactions v2, the new group protocol, share
// groups) are left out, as Kafka leaves them out.
const (
	metadataVersion    = 30
	oldestMetaVersion  = 7
	metadataVersionKey = "metadata.version"
)

// softwareName is what KIP-511 allows in a client's name and version.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// apiVersions answers which versions are served (KIP-35, KIP-511, features KIP-584).
func apiVersions(ca *call, req *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if req.Version >= 3 && (!softwareName.MatchString(req.ClientSoftwareName) || !softwareName.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	for key := int16(0); key <= maxKey; key++ {
		if a := ca.c.s.apis[key]; a != nil {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MinVersion: a.min, MaxVersion: a.max})
		}
	}
	resp.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{
		{Name: metadataVersionKey, MinVersion: oldestMetaVersion, MaxVersion: metadataVersion},
	}
	resp.FinalizedFeaturesEpoch = int64(ca.c.s.b.Image().Index)
	resp.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{
		{Name: metadataVersionKey, MinVersionLevel: metadataVersion, MaxVersionLevel: metadataVersion},
	}
	return resp
}
