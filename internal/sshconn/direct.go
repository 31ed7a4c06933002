package sshconn

import (
	"context"
	"net"
)

// direct dials a host from this machine.
type direct struct{ addr string }

func (d direct) prepare(bool) (dial dialFunc, leave func(), err error) {
	dial = func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", d.addr) }
	return dial, func() {}, nil
}

func (d direct) slotName() string { return d.addr }

func (d direct) passage() (giveBack func(), err error) { return func() {}, nil }
