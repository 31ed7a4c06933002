package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

func TestHostThatCannotBeReached(t *testing.T) {
	nobody, _ := route.ParseTarget("127.0.0.1:1")
	quick := func(p *Pool) { p.config.ConnectTimeout = 50 * time.Millisecond }
	for _, tc := range []struct {
		name   string
		to     func(*testing.T) route.Settings
		change func(*Pool)
		words  []string
	}{
		{"nobody listens", func(*testing.T) route.Settings { return nobody }, func(*Pool) {},
			[]string{"nobody listens on port 1", "connection refused"}},
		{"never answers", func(t *testing.T) route.Settings { return listen(t, stall) }, quick,
			[]string{"no answer within 50ms during the SSH handshake"}},
		{"stalls after the banner", func(t *testing.T) route.Settings {
			return listen(t, func(c net.Conn) {
				_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
				stall(c)
			})
		}, quick, []string{"no answer within 50ms"}},
		{"hangs up", func(t *testing.T) route.Settings { return listen(t, func(net.Conn) {}) }, func(*Pool) {},
			[]string{"cut during the SSH handshake", "MaxStartups"}},
		{"speaks something else", func(t *testing.T) route.Settings {
			return listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n") })
		}, func(*Pool) {}, []string{"handshake"}},
		{"has no name", func(*testing.T) route.Settings { return route.Settings{Address: "no-such-host.invalid"} },
			func(*Pool) {}, []string{"no-such-host.invalid"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fails(t, conn(t, pool(t, tc.to(t), tc.change)), fault.Unreachable, tc.words...)
		})
	}
}

// A real server that says its name and then nothing more is given up in time, and waited for by nobody else.
func TestServerThatStallsAfterTheBanner(t *testing.T) {
	s := startSSHD(t)
	w := startWire(t, s.addr)
	w.hushAt = len("SSH-2.0-OpenSSH")
	p := pool(t, w.settings(s.settings()), func(p *Pool) {
		p.config.ConnectTimeout = 5 * time.Second // enough for a login on a busy machine
		p.config.Hosts["web2"] = s.settings()
	})
	fails(t, conn(t, p), fault.Unreachable, "no answer within 5s during the SSH handshake")
	other, err := p.Conn("web2")
	if err != nil {
		t.Fatal(err)
	}
	mustEcho(t, other)
}

func TestDialOutlivesTheCallerWhoBeganIt(t *testing.T) {
	s := startSSHD(t)
	w := startWire(t, s.addr)
	c := conn(t, pool(t, w.settings(s.settings())))
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	w.mu.Lock() // the wire does not pass on the connection yet
	go func() {
		_, err := c.Run(ctx, echo("x"))
		got <- err
	}()
	dialling := func() *dialing {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.dialing
	}
	until(t, "dialling", func() bool { return dialling() != nil })
	d := dialling()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) || errors.Is(err, fault.ErrLost) {
		t.Errorf("got %v", err)
	}
	w.mu.Unlock()
	mustEcho(t, c)
	if d.err != nil || s.count("Accepted publickey") != 1 {
		t.Errorf("%d logins, error of the first %v", s.count("Accepted publickey"), d.err)
	}
}

func TestAllWaitersGetTheErrorOfADial(t *testing.T) {
	release := make(chan struct{})
	tries := make(chan struct{}, 100)
	set := listen(t, func(net.Conn) {
		tries <- struct{}{}
		<-release
	})
	c := conn(t, pool(t, set, func(p *Pool) { p.pace.answersFor = forNobodyElse }))
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { fails(t, c, fault.Unreachable) })
	}
	until(t, "ten wait", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.dialing != nil && c.dialing.waiters == 10
	})
	close(release)
	all.Wait()
	if len(tries) != 1+redialsDropped {
		t.Errorf("%d tries for ten waiters, want %d", len(tries), 1+redialsDropped)
	}
	fails(t, c, fault.Unreachable) // and the next call dials anew
	if len(tries) != 2*(1+redialsDropped) {
		t.Errorf("%d tries, want %d", len(tries), 2*(1+redialsDropped))
	}
}

func TestAtMostFourHandshakesAtOnceToOneAddress(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	release := make(chan struct{})
	set := listen(t, func(net.Conn) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		<-release
		mu.Lock()
		now--
		mu.Unlock()
	})
	const hosts = 12
	p := pool(t, set, func(p *Pool) {
		for i := range hosts {
			p.config.Hosts[string(rune('a'+i))] = set
		}
	})
	var all sync.WaitGroup
	for i := range hosts {
		c, err := p.Conn(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { fails(t, c, fault.Unreachable) })
	}
	until(t, "four are in, and the others wait", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return now >= handshakesAtOnce
	})
	close(release)
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most != handshakesAtOnce {
		t.Errorf("%d handshakes at once, want %d", most, handshakesAtOnce)
	}
}

// No more hosts are connected at once than may be; who is idle makes room, who is busy is waited for, and a jump host
// takes no place.
func TestMaxConnections(t *testing.T) {
	s, bastion := startSSHD(t), startSSHD(t)
	const hosts, places = 12, 3
	p := NewPool(Config{Hosts: map[string]route.Settings{}, MaxConnections: places})
	t.Cleanup(p.Close)
	var mu sync.Mutex
	now, most := 0, 0
	p.config.Log = func(_ context.Context, msg string, _ map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		switch msg {
		case "SSH connection made":
			now++
			most = max(most, now)
		case "SSH connection closed":
			now--
		}
	}
	set := behind(bastion.settings(), s.settings())
	var all sync.WaitGroup
	for i := range hosts {
		p.config.Hosts[string(rune('a'+i))] = set
	}
	for i := range hosts {
		c, err := p.Conn(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			mustEcho(t, c)
			mustEcho(t, c)
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	// The log hears of a jump host's end only, and of that when the pool ends.
	if most > places {
		t.Errorf("%d connections at once, want at most %d", most, places)
	}
	if n := bastion.count("Accepted publickey"); n != 1 {
		t.Errorf("%d logins at the jump host, want 1", n)
	}
}

// Guards that with no place free an idle connection ends for another host, which is dialled once for it.
func TestIdleConnectionMakesRoom(t *testing.T) {
	s := startSSHD(t)
	p := pool(t, s.settings(), func(p *Pool) {
		p.config.Hosts["web2"] = s.settings()
		p.config.IdleTimeout = time.Hour
	})
	p.limit.taken = make(chan struct{}, 1)
	other, err := p.Conn("web2")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustEcho(t, conn(t, p))
		mustEcho(t, other)
	}
	if n := s.count("Connection from"); n != 4 {
		t.Errorf("%d connections for 4 logins", n)
	}
}

func TestBusyConnectionIsNotEndedForAnotherHost(t *testing.T) {
	s := startSSHD(t)
	p := pool(t, s.settings(), func(p *Pool) { p.config.Hosts["web2"] = s.settings() })
	p.limit.taken = make(chan struct{}, 1)
	c := conn(t, p)
	free := busy(t, c)
	other, err := p.Conn("web2")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := other.Run(context.Background(), echo("x"))
		got <- err
	}()
	until(t, "the other host waits for a place", func() bool { return p.limit.waiting.Load() == 1 })
	s.await("Connection closed by") // it keeps no server waiting for its login meanwhile
	if len(got) > 0 {
		t.Errorf("the other host was reached: %v", <-got)
	}
	free()
	if err := <-got; err != nil {
		t.Error(err)
	}
	mustEcho(t, c)
}

// silent are settings of a server that lets no connection come about: packets that ask for one are dropped.
func silent(t *testing.T) route.Settings {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
		syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	at, ok := bound.(*syscall.SockaddrInet4)
	if err != nil || !ok {
		t.Fatal(bound, err)
	}
	set := route.Settings{Address: "127.0.0.1", Login: route.Login{Port: at.Port}}
	until(t, "nobody more is let in", func() bool {
		c, err := net.DialTimeout("tcp", set.Addr(), 100*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err != nil
	})
	return set
}

// However few may be connected, hosts that do not answer hold up none of those that do.
func TestHostsThatDoNotAnswerTakeNoPlace(t *testing.T) {
	const dead, places = 3, 1
	s := startSSHD(t)
	set := silent(t)
	p := pool(t, s.settings(), func(p *Pool) {
		p.config.ConnectTimeout = time.Hour
		p.config.Hosts["web2"] = s.settings()
		for i := range dead {
			p.config.Hosts[fmt.Sprint("dead", i)] = set
		}
	})
	p.limit.taken = make(chan struct{}, places)
	ended := make(chan error, dead)
	for i := range dead {
		c, err := p.Conn(fmt.Sprint("dead", i))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := c.Run(context.Background(), echo("x"))
			ended <- err
		}()
	}
	until(t, "one of them is dialled", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.slots[set.Addr()]) > 0
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, name := range []string{"web1", "web2", "web1"} { // each makes room for the next
		c, err := p.Conn(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Run(ctx, echo("x")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(ended) > 0 {
		t.Errorf("one that drops packets answered: %v", <-ended)
	}
	p.Close()
	for range dead {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestDeadHostHoldsUpNobodyElse(t *testing.T) {
	s := startSSHD(t)
	dead := listen(t, stall)
	p := pool(t, s.settings(), func(p *Pool) { p.config.Hosts["dead"] = dead })
	d, err := p.Conn("dead")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := d.Run(context.Background(), echo("x"))
		got <- err
	}()
	mustEcho(t, conn(t, p))
	p.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestWait(t *testing.T) {
	quick := func(p *Pool) { p.pace.backoff = func(int) time.Duration { return time.Millisecond } }

	t.Run("for a server that starts later", func(t *testing.T) {
		s := startSSHD(t)
		s.stop()
		tried := make(chan struct{}, 10000)
		p := pool(t, s.settings(), quick, func(p *Pool) {
			p.config.Log = func(_ context.Context, msg string, _ map[string]any) {
				if msg == "SSH host not there yet" {
					tried <- struct{}{}
				}
			}
		})
		c := conn(t, p)
		got := make(chan error, 1)
		go func() { got <- c.Wait(context.Background()) }()
		<-tried
		<-tried
		s.start()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		mustEcho(t, c)
	})
	t.Run("not longer than the timeout", func(t *testing.T) {
		c := conn(t, pool(t, route.Settings{Address: "127.0.0.1", Login: route.Login{Port: 1}}, quick,
			func(p *Pool) { p.config.Timeout = 20 * time.Millisecond }))
		wantError(t, c.settings, c.Wait(t.Context()), fault.Unreachable, "within 20ms", "nobody listens", "timeout")
	})
	t.Run("not after a refused login", func(t *testing.T) {
		s := startSSHD(t)
		set := s.settings()
		set.PrivateKey = privatePEM(otherKey)
		c := conn(t, pool(t, set, quick))
		wantError(t, set, c.Wait(t.Context()), fault.AuthRefused)
	})
	t.Run("not after a changed host key", func(t *testing.T) {
		s := startSSHD(t)
		set := s.settings()
		set.HostKey = publicLine(otherKey)
		c := conn(t, pool(t, set, quick))
		wantError(t, set, c.Wait(t.Context()), fault.HostKeyChanged)
	})
	t.Run("not after its context", func(t *testing.T) {
		c := conn(t, pool(t, route.Settings{Address: "127.0.0.1", Login: route.Login{Port: 1}},
			func(p *Pool) { p.pace.backoff = func(int) time.Duration { return time.Hour } }))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not after its pool", func(t *testing.T) {
		p := pool(t, route.Settings{Address: "127.0.0.1", Login: route.Login{Port: 1}},
			func(p *Pool) { p.pace.backoff = func(int) time.Duration { return time.Hour } })
		c := conn(t, p)
		got := make(chan error, 1)
		go func() { got <- c.Wait(context.Background()) }()
		p.Close()
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// sshd drops connections by chance or to the last one, when many come at once: each gets in all the same.
func TestDroppedConnectionsAreDialledAgain(t *testing.T) {
	s := startSSHD(t, "MaxStartups 3:50:5", "MaxSessions 2")
	w := startWire(t, s.addr)
	const hosts = 12
	set := s.settings()
	p := pool(t, set, func(p *Pool) {
		for i := range hosts {
			p.config.Hosts[string(rune('a'+i))] = set
		}
		p.pace.redial = func(int) time.Duration { return 50 * time.Millisecond }
	})
	// Six that say nothing keep the server full, until it has dropped somebody.
	var idlers []net.Conn
	for range 6 {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		idlers = append(idlers, c)
	}
	s.await("drop connection")
	var all sync.WaitGroup
	for i := range hosts {
		c, err := p.Conn(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			mustEcho(t, c)
			if err := c.WriteFile(t.Context(), filepath.Join(s.dir, c.host+".conf"), "x\n"); err != nil {
				t.Error(err)
			}
		})
	}
	dropped := s.count("drop connection")
	until(t, "one of ours is dropped", func() bool { return s.count("drop connection") > dropped })
	for _, c := range idlers {
		c.Close()
	}
	all.Wait()
	if n := s.count("Accepted publickey"); n != hosts {
		t.Errorf("%d logins, want %d", n, hosts)
	}
}

// A server that refuses, as one that is just being started again, is asked again; for how long is the dial's own
// affair.
func TestRefusedDialIsTriedAgain(t *testing.T) {
	s := startSSHD(t)
	s.stop()
	p := pool(t, s.settings(), func(p *Pool) {
		p.pace.redial = func(try int) time.Duration {
			if try == 0 {
				s.start()
			}
			return time.Millisecond
		}
	})
	mustEcho(t, conn(t, p))
}

// forNobodyElse lets a failure answer for those alone who wait for the same dial.
func forNobodyElse(error, time.Duration) time.Duration { return 0 }

// What took long to find out answers for others as well, for so much longer, and a refusal for some seconds.
func TestFailuresThatAnswerForFurtherCalls(t *testing.T) {
	for _, tc := range []struct {
		kind       fault.Kind
		took, want time.Duration
	}{
		{fault.Unreachable, 0, 0}, {fault.Unreachable, time.Second, 4 * time.Second},
		{fault.Unreachable, time.Hour, failureHold}, {fault.HostKeyChanged, time.Second, 4 * time.Second},
		{fault.AuthRefused, 0, refusalHold}, {fault.SudoRefused, time.Hour, refusalHold}, {fault.DoasRefused, 0, refusalHold},
	} {
		if got := answersFor(&fault.Error{Kind: tc.kind}, tc.took); got != tc.want {
			t.Errorf("%s, found out in %s: %s, want %s", (&fault.Error{Kind: tc.kind}).Summary(), tc.took, got, tc.want)
		}
	}
}

func TestBackoffGrowsAndStaysPolite(t *testing.T) {
	for try, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second,
		4: 10 * time.Second, 1000: 10 * time.Second} {
		if got := backoff(try); got != want {
			t.Errorf("try %d: %s, want %s", try, got, want)
		}
	}
	for try, middle := range map[int]time.Duration{0: 200 * time.Millisecond, 1: 400 * time.Millisecond,
		3: 1600 * time.Millisecond, 4: 2 * time.Second, 1000: 2 * time.Second} {
		several := map[time.Duration]bool{}
		for range 100 {
			got := redial(try)
			if several[got] = true; got < middle*3/4 || got > middle*5/4 {
				t.Errorf("dial %d again: %s, want about %s", try, got, middle)
			}
		}
		if len(several) < 2 {
			t.Errorf("all who were dropped together dial %d again together", try)
		}
	}
}
