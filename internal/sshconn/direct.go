package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// direct dials a host from this machine. family, from and iface are AddressFamily, BindAddress and BindInterface of
// ssh_config.
type direct struct{ addr, family, from, iface string }

func (d direct) prepare(bool) (dial dialFunc, leave func(), err error) {
	return d.dial, func() {}, nil
}

func (d direct) dial(ctx context.Context) (net.Conn, error) {
	network := map[string]string{"inet": "tcp4", "inet6": "tcp6"}[d.family]
	if network == "" {
		network = "tcp"
	}
	if d.from == "" && d.iface == "" {
		return new(net.Dialer).DialContext(ctx, network, d.addr)
	}
	from, err := d.sources(network)
	for _, local := range from {
		var conn net.Conn
		dialer := net.Dialer{LocalAddr: local} // to an address of its own family alone
		if conn, err = dialer.DialContext(ctx, network, d.addr); err == nil {
			return conn, nil
		}
	}
	return nil, &sourceError{err}
}

// sourceError is why no connection is made from the address that ssh_config wants.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// sources are the addresses of this machine to connect from.
func (d direct) sources(network string) (from []net.Addr, err error) {
	if d.from != "" {
		addr, err := net.ResolveTCPAddr(network, net.JoinHostPort(d.from, "0"))
		if err != nil {
			return nil, err
		}
		return []net.Addr{addr}, nil
	}
	iface, err := net.InterfaceByName(d.iface)
	if err != nil {
		return nil, fmt.Errorf("the interface %s: %w", d.iface, err)
	}
	addrs, err := iface.Addrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			from = append(from, &net.TCPAddr{IP: n.IP})
		}
	}
	if err == nil && len(from) == 0 {
		err = errors.New("the interface " + d.iface + " has no address")
	}
	return from, err
}

func (d direct) slotName() string { return d.addr }

func (d direct) passage() (giveBack func(), err error) { return func() {}, nil }
