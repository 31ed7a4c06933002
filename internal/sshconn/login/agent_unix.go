//go:build !windows

package login

import (
	"context"
	"net"
)

// usualAgent is where an agent listens of which nothing tells; there is no such place.
const usualAgent = ""

// dialAgent connects to the agent that listens at a socket.
func dialAgent(ctx context.Context, at string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", at)
}
