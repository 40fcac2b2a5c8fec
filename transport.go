package memoryplugin

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"time"
)

// NewTransport returns a new transport with the SDK's own settings, to wrap (for
// tracing) or adjust (proxy, TLS) and pass to [WithHTTPClient]. A Client without
// that option has one of its own.
//
// It speaks HTTP/1.1, one request per connection at a time. Over HTTP/2, if a
// server restarts or rotates its connections, many requests break at once and
// leave their ids Unconfirmed. If you want HTTP/2, call
// Protocols.SetHTTP2(true). It honours HTTPS_PROXY, HTTP_PROXY and NO_PROXY,
// and closes a connection that was idle for 4 seconds.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Protocols:              protocols,
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkTunnel,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		WriteBufferSize:        8 << 10, // Enough for a request of 100 ids.
		// Below the 5 s after which common servers close an idle connection: a
		// request that meets the closing is lost, and its outcome unknown.
		IdleConnTimeout: 4 * time.Second,
		// One for each worker of a batch, however many; idling is short.
		MaxIdleConnsPerHost: math.MaxInt32,
	}
}

// tunnelRefused is a proxy's refusal of CONNECT. It is not the API's answer, as
// whose net/http would show it.
type tunnelRefused struct {
	proxy  string
	status int
}

func checkTunnel(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &tunnelRefused{proxy.Host, resp.StatusCode}
}

func (e *tunnelRefused) Error() string {
	return fmt.Sprintf("the proxy %s refused to connect: %s", e.proxy, statusText(e.status))
}
