package sshconn

import (
	"context"
	"net"
)

// direct dials a host from this machine. family and from are AddressFamily and BindAddress of ssh_config.
type direct struct{ addr, family, from string }

func (d direct) prepare(bool) (dial dialFunc, leave func(), err error) {
	return d.dial, func() {}, nil
}

func (d direct) dial(ctx context.Context) (net.Conn, error) {
	network := map[string]string{"inet": "tcp4", "inet6": "tcp6"}[d.family]
	if network == "" {
		network = "tcp"
	}
	var dialer net.Dialer
	if d.from != "" {
		from, err := net.ResolveTCPAddr(network, net.JoinHostPort(d.from, "0"))
		if err != nil {
			return nil, err
		}
		dialer.LocalAddr = from
	}
	return dialer.DialContext(ctx, network, d.addr)
}

func (d direct) slotName() string { return d.addr }

func (d direct) passage() (giveBack func(), err error) { return func() {}, nil }
