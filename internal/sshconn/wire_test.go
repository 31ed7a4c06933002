package sshconn

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// wire is a TCP connection in between that can be told to misbehave.
type wire struct {
	addr string
	l    net.Listener
	all  sync.WaitGroup
	mu   sync.Mutex
	// isDark stops everything from passing on the connections that there are.
	isDark chan struct{}
	// cutAt closes a connection when the client has sent so many bytes, on so many connections; hushAt keeps back all that
	// the server says after so many.
	cutAt, cuts, hushAt int
	// sent is how much the client has sent on the connection that it last sent on.
	sent  int
	conns []net.Conn
	ended chan struct{}
	// stop cuts all connections, and refuses new ones.
	stop func()
}

func startWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), l: l, isDark: make(chan struct{}), ended: make(chan struct{})}
	w.stop = sync.OnceFunc(w.end)
	w.all.Go(func() {
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
			isDark := w.isDark
			w.mu.Unlock()
			w.all.Go(func() { w.pass(near, far, isDark, w.hush) })
			w.all.Go(func() { w.pass(far, near, isDark, w.cut) })
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *wire) end() {
	w.l.Close()
	close(w.ended)
	w.mu.Lock()
	for _, c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.all.Wait()
}

// hush waits where the server has said enough.
func (w *wire) hush(said int) bool {
	w.mu.Lock()
	enough := w.hushAt > 0 && said > w.hushAt
	w.mu.Unlock()
	if enough {
		<-w.ended
	}
	return enough
}

// cut says whether the client has sent enough.
func (w *wire) cut(sent int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = sent
	if w.cutAt == 0 || sent < w.cutAt || w.cuts == 0 {
		return false
	}
	w.cuts--
	return true
}

func (w *wire) pass(to, from net.Conn, isDark <-chan struct{}, enough func(passed int) bool) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	passed := 0
	for {
		n, err := from.Read(buf)
		if passed += n; enough(passed) {
			from.Close()
			return
		}
		select {
		case <-isDark:
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

// sentSoFar is how much the client has sent on its last connection.
func (w *wire) sentSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// lose lets nothing pass any more on the connections that there are: neither end hears that the other one is gone.
func (w *wire) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.isDark)
	w.isDark = make(chan struct{})
}

// settings are s, by way of the wire.
func (w *wire) settings(s route.Settings) route.Settings {
	t, _ := route.ParseTarget(w.addr)
	s.Address, s.Port = t.Address, t.Port
	return s
}

// listen answers every connection to an address with serve.
func listen(t *testing.T, serve func(net.Conn)) route.Settings {
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
	s, _ := route.ParseTarget(l.Addr().String())
	s.HostKey, s.PrivateKey = publicLine(hostKey), privatePEM(userKey)
	return s
}

// stall reads until the other side gives up.
func stall(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
