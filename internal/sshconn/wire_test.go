package sshconn

import (
	"io"
	"net"
	"sync"
	"testing"
)

// wire is a TCP connection in between that can be told to misbehave.
type wire struct {
	addr string
	mu   sync.Mutex
	// isDark stops everything from passing.
	isDark chan struct{}
	conns  []net.Conn
	ended  chan struct{}
}

func startWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), isDark: make(chan struct{}), ended: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, near, far)
			w.mu.Unlock()
			all.Go(func() { w.pass(near, far) })
			all.Go(func() { w.pass(far, near) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(w.ended)
		w.mu.Lock()
		for _, c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		all.Wait()
	})
	return w
}

func (w *wire) pass(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-w.isDark:
			<-w.ended
			return
		default:
		}
		if _, e := to.Write(buf[:n]); e != nil || err != nil {
			return
		}
	}
}

// dark lets nothing pass from now on.
func (w *wire) dark() { close(w.isDark) }

// settings are s, by way of the wire.
func (w *wire) settings(s Settings) Settings {
	t, _ := parseTarget(w.addr)
	s.Address, s.Port = t.Address, t.Port
	return s
}

// listen answers every connection to an address with serve.
func listen(t *testing.T, serve func(net.Conn)) Settings {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	s, _ := parseTarget(l.Addr().String())
	s.HostKey, s.PrivateKey = publicLine(hostKey), privatePEM(userKey)
	return s
}

// stall reads until the other side gives up.
func stall(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
