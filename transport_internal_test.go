package memoryplugin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// What takes seconds, megabytes or a proxy to be seen from outside.
func TestTheTransportOfTheSDK(t *testing.T) {
	tr := newTransport()

	assert.NotNil(t, tr.Proxy, "HTTPS_PROXY is honoured")
	assert.True(t, tr.ForceAttemptHTTP2)
	assert.EqualValues(t, 1<<20, tr.MaxResponseHeaderBytes)
	assert.Positive(t, tr.IdleConnTimeout)
	assert.Less(t, tr.IdleConnTimeout, 5*time.Second, "servers close after 5 s")
	assert.GreaterOrEqual(t, tr.MaxIdleConnsPerHost, 1000, "one for each worker of a batch")
	assert.Zero(t, tr.MaxIdleConns, "no limit")
}
