package login

import (
	"context"
	"net"
	"strings"

	"github.com/Microsoft/go-winio"
)

// usualAgent is where the agent of OpenSSH for Windows listens, and those that take its place, as 1Password's.
const usualAgent = `\\.\pipe\openssh-ssh-agent`

// dialAgent connects to the agent that listens at a pipe or a socket.
func dialAgent(ctx context.Context, at string) (net.Conn, error) {
	if pipe, ok := agentPipe(at); ok {
		return winio.DialPipeContext(ctx, pipe)
	}
	return (&net.Dialer{}).DialContext(ctx, "unix", at)
}

// agentPipe returns the path of a pipe: ssh_config takes one backslash of each pair at its beginning, and slashes may
// stand for them.
func agentPipe(at string) (path string, ok bool) {
	path = strings.ReplaceAll(at, "/", `\`)
	rest := strings.TrimLeft(path, `\`)
	if rest == path || !strings.HasPrefix(strings.ToLower(rest), `.\pipe\`) {
		return "", false
	}
	return `\\` + rest, true
}
