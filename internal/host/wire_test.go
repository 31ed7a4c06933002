package host_test

import (
	"net"
	"sync"
	"testing"
)

// moment is when in an exchange something happens to it.
type moment string

const (
	unsent   moment = "before the request leaves"
	sent     moment = "with the request sent"
	answered moment = "with the reply on its way"
)

// wire is the way to a machine: a proxy that counts exchanges, and at one of them does harm. An exchange begins with
// what the client sends after the server had its say.
type wire struct {
	listener net.Listener
	to       string
	work     sync.WaitGroup

	mu        sync.Mutex
	open      map[net.Conn]bool
	counting  bool
	exchanges int
	asking    bool   // the client spoke last
	at        int    // the exchange that is harmed
	when      moment // and when in it
	harm      func() // what happens, besides that every connection is cut
	done      bool   // the harm is done
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen(
		"tcp", "127.0.0.2:0") // an address of its own: hangUp gives the port back, and no other test must take it meanwhile
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, to: to, open: map[net.Conn]bool{}}
	w.work.Go(func() { w.accept(l) })
	return w
}

// close ends the proxy and waits for all of it.
func (w *wire) close() {
	w.mu.Lock()
	w.hangUp()
	w.mu.Unlock()
	w.work.Wait()
}

// hangUp cuts every connection, and refuses new ones. The caller holds mu.
func (w *wire) hangUp() {
	w.listener.Close()
	w.cut()
}

// listen takes connections again after hangUp.
func (w *wire) listen(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	l, err := net.Listen("tcp", w.listener.Addr().String())
	must(t, err)
	w.listener = l
	w.work.Go(func() { w.accept(l) })
}

func (w *wire) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.to)
		if err != nil {
			client.Close()
			continue
		}
		w.mu.Lock()
		w.open[client], w.open[server] = true, true
		w.mu.Unlock()
		w.work.Go(func() { w.pump(server, client, w.ask) })
		w.work.Go(func() { w.pump(client, server, w.reply) })
	}
}

// pump hands on what one end says until either is closed.
func (w *wire) pump(to, from net.Conn, heard func(hand func())) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			heard(func() { _, err = to.Write(buf[:n]) })
		}
		if err != nil {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		c.Close()
		delete(w.open, c)
	}
}

// ask hands on what the client says.
func (w *wire) ask(hand func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counting && !w.asking {
		w.exchanges++
	}
	w.asking = true
	if w.now(unsent) {
		return
	}
	hand()
	w.now(sent)
}

// reply hands on what the server says.
func (w *wire) reply(hand func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asking = false
	if !w.now(answered) {
		hand()
	}
}

// now does the harm if this is the moment for it.
func (w *wire) now(when moment) bool {
	if !w.counting || w.done || w.exchanges != w.at || w.when != when {
		return false
	}
	w.done = true
	if w.harm != nil {
		w.harm()
	}
	w.cut()
	return true
}

func (w *wire) cut() {
	for c := range w.open {
		c.Close()
	}
}

// count counts from now on, and at this exchange does harm with mu held, and cuts; 0 is none.
func (w *wire) count(at int, when moment, harm func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counting, w.exchanges, w.asking, w.done = true, 0, false, false
	w.at, w.when, w.harm = at, when, harm
}

// counted ends the count, and says how far it came and whether the harm was done.
func (w *wire) counted() (exchanges int, harmed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counting = false
	return w.exchanges, w.done
}
