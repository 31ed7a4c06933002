package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// knowing makes a server that knows another address by a name that nobody else does, has a host key of its own, and
// lets user in with a key of its own.
func knowing(t *testing.T, name string, lines ...string) (s *sshd, host, user any) {
	t.Helper()
	host, user = newKey(), newKey()
	hosts := filepath.Join(t.TempDir(), "hosts")
	write(t, hosts, "127.0.0.1 localhost "+name+"\n")
	s = startSSHD(t, append(lines, "#mount --bind "+hosts+" /etc/hosts", "HostKey "+hostKeyFile(t, t.TempDir(), host))...)
	keys := filepath.Join(s.dir, "authorized_keys")
	write(t, keys, publicLine(user))
	// sshd reads them as the user
	for name, mode := range map[string]os.FileMode{keys: 0o644, hosts: 0o644, filepath.Dir(s.dir): 0o755} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	return s, host, user
}

func port(s *sshd) int {
	_, p, _ := net.SplitHostPort(s.addr)
	n, _ := strconv.Atoi(p)
	return n
}

// Each of three jump hosts has its own user, key and host key, gives no shell, and alone knows the name of the next:
// the chain is walked, and each is checked.
func TestChainOfThreeJumpHosts(t *testing.T) {
	target, targetKey, targetUser := knowing(t, "none.internal")
	third, thirdKey, thirdUser := knowing(t, "target.internal", "ForceCommand /bin/false")
	second, secondKey, secondUser := knowing(t, "third.internal")
	first, firstKey, firstUser := knowing(t, "second.internal", "PermitTTY no")
	no := false
	known := func(host string, s *sshd, key any) string {
		return knownhosts.Line([]string{fmt.Sprintf("%s:%d", host, port(s))}, public(key)) + "\n"
	}
	right := []string{known("target.internal", target, targetKey), known("third.internal", third, thirdKey),
		known("second.internal", second, secondKey),
		known("127.0.0.1", first, firstKey)}
	config := func(t *testing.T, lines []string) Config {
		file := filepath.Join(t.TempDir(), "known_hosts")
		write(t, file, strings.Join(lines, ""))
		key := privatePEM
		return Config{Defaults: route.Settings{Login: route.Login{KnownHosts: []string{file}, Agent: &no}},
			Hosts: map[string]route.Settings{
				"web1": {Address: "target.internal", Login: route.Login{Port: port(target), PrivateKey: key(targetUser)},
					Bastion: &route.Bastion{Host: "third"}},
				"third": {Address: "third.internal", Login: route.Login{Port: port(third), PrivateKey: key(thirdUser)},
					Bastion: &route.Bastion{Host: "second", Login: route.Login{PrivateKey: key(secondUser)}}},
				"second": {Address: "second.internal", Login: route.Login{Port: port(second), User: "nobody"},
					Bastion: &route.Bastion{Host: "first"}},
				"first": {Address: "127.0.0.1", Login: route.Login{Port: port(first), PrivateKey: key(firstUser)}},
			}}
	}
	p := NewPool(config(t, right))
	t.Cleanup(p.Close)
	mustEcho(t, conn(t, p))
	for _, s := range []*sshd{target, third, second, first} {
		if n := s.count("Accepted publickey"); n != 1 {
			t.Errorf("%d logins, want 1:\n%s", n, s.log())
		}
	}
	if second.count("Accepted publickey for nobody") != 1 {
		t.Error("the second jump host was not passed as its own user")
	}
	for i, name := range []string{"web1", "third", "second", "first"} {
		t.Run("changed key of "+name, func(t *testing.T) {
			lines := append([]string{}, right...)
			lines[i] = strings.Replace(lines[i], strings.Fields(lines[i])[2], strings.Fields(publicLine(otherKey))[1], 1)
			p := NewPool(config(t, lines))
			t.Cleanup(p.Close)
			words := []string{fmt.Sprintf("known_hosts:%d", i+1), ssh.FingerprintSHA256(public(otherKey))}
			if name != "web1" {
				words = append(words, "its jump host "+name+" (")
			}
			fails(t, conn(t, p), fault.HostKeyChanged, words...)
		})
	}
}

// behind are settings that reach target through bastion.
func behind(bastion, target route.Settings) route.Settings {
	target.Bastion = &route.Bastion{Host: "bastion", Login: bastion.Login}
	target.Bastion.Host = bastion.Addr()
	return target
}

// However many hosts are behind a jump host, it sees one connection, and the hosts at one address no more handshakes at
// a time than sshd likes.
func TestManyHostsBehindOneJumpHostShareItsConnection(t *testing.T) {
	bastion := startSSHD(t)
	target := startSSHD(t, "MaxStartups "+strconv.Itoa(handshakesAtOnce+1))
	const hosts = 20
	set := behind(bastion.settings(), target.settings())
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
		all.Go(func() { mustEcho(t, c) })
	}
	all.Wait()
	if b, n, drops := bastion.count("Accepted publickey"), target.count("Accepted publickey"),
		target.count("drop connection"); b != 1 || n != hosts || drops != 0 {
		t.Errorf("%d logins at the jump host, want 1; %d at the target, want %d; %d drops, want none", b, n, hosts, drops)
	}
}

// The hosts behind a jump host may be many: no more than four handshakes go through it at a time, whatever their
// addresses.
func TestAtMostFourHandshakesAtOnceThroughAJumpHost(t *testing.T) {
	var mu sync.Mutex
	now, most, entered := 0, 0, 0
	release := make(chan struct{})
	handshake := func(c net.Conn) {
		if n, _ := c.Read(make([]byte, 1)); n == 0 {
			return
		}
		mu.Lock()
		now, entered = now+1, entered+1
		most = max(most, now)
		mu.Unlock()
		<-release
		mu.Lock()
		now--
		mu.Unlock()
	}
	const hosts = 12
	targets := make([]route.Settings, hosts)
	for i := range targets {
		targets[i] = listen(t, handshake)
	}
	bastion := startSSHD(t).settings() // once: a key's text is another each time it is made
	p := pool(t, route.Settings{Address: "unused"}, func(p *Pool) {
		p.pace.passageHold = time.Hour
		p.pace.redial = func(int) time.Duration { return time.Hour } // beyond the timeout: each comes once
		for i, target := range targets {
			p.config.Hosts[string(rune('a'+i))] = behind(bastion, target)
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
	// One comes out, and one goes in.
	for i := range hosts {
		until(t, "the next is in", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return entered >= min(i+handshakesAtOnce, hosts)
		})
		release <- struct{}{}
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most != handshakesAtOnce {
		t.Errorf("%d handshakes at once, want %d", most, handshakesAtOnce)
	}
}

func TestJumpHostThatIsNotPassed(t *testing.T) {
	bastion, target := startSSHD(t), startSSHD(t)
	closed := startSSHD(t, "AllowTcpForwarding no")
	elsewhere := startSSHD(t, "PermitOpen 192.0.2.1:22")
	nobody := target.settings()
	nobody.Port = 1
	stranger := bastion.settings()
	stranger.PrivateKey = privatePEM(otherKey)
	gone := bastion.settings()
	gone.Port = 1
	name := target.settings()
	name.Address = "no-such-host.invalid"
	for _, tc := range []struct {
		name            string
		bastion, target route.Settings
		kind            fault.Kind
		words           []string
	}{
		{"nobody listens behind it", bastion.settings(), nobody, fault.Unreachable,
			[]string{"On web1 (127.0.0.1:1)", "its jump host 127.0.0.1:", "refused"}},
		{"name that it does not resolve", bastion.settings(), name, fault.Unreachable, []string{"does not reach it"}},
		{"forwarding is forbidden", closed.settings(), target.settings(), fault.Unreachable,
			[]string{"does not let connections through", "AllowTcpForwarding"}},
		{"forwarding goes elsewhere only", elsewhere.settings(), target.settings(), fault.Unreachable,
			[]string{"does not let connections through", "PermitOpen"}},
		{"login refused", stranger, target.settings(), fault.AuthRefused,
			[]string{"its jump host", "does not let user root in"}},
		{"nobody listens there", gone, target.settings(), fault.Unreachable,
			[]string{"its jump host 127.0.0.1:1 (127.0.0.1:1) cannot be passed", "nobody listens"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fails(t, conn(t, pool(t, behind(tc.bastion, tc.target))), tc.kind, tc.words...)
		})
	}
	t.Run("waiting does not help where forwarding is forbidden", func(t *testing.T) {
		c := conn(t, pool(t, behind(closed.settings(), target.settings())))
		wantError(t, c.settings, c.Wait(t.Context()), fault.Unreachable, "AllowTcpForwarding")
	})
}

// The connection to the jump host lasts as long as anything goes through it, and no longer than that; lost, both are
// made anew.
func TestJumpHostIsHeldOpenAndDialledAgain(t *testing.T) {
	bastion, target := startSSHD(t), startSSHD(t)
	p := pool(t, behind(bastion.settings(), target.settings()))
	p.config.IdleTimeout = time.Hour
	c := conn(t, p)
	mustEcho(t, c)
	c.via.mu.Lock()
	hop := c.via.live
	users := hop.users
	c.via.mu.Unlock()
	if users != 1 {
		t.Errorf("%d uses of the jump host while the host is connected, want 1", users)
	}
	bastion.stop()
	<-hop.over
	bastion.start()
	mustEcho(t, c)
	c.mu.Lock()
	l := c.live
	c.mu.Unlock()
	l.end(errIdle)
	<-l.over
	c.via.mu.Lock()
	defer c.via.mu.Unlock()
	if c.via.live.users != 0 {
		t.Errorf("%d uses of the jump host when nothing goes through it", c.via.live.users)
	}
}

func TestStalledHostsBehindAJumpHostHoldUpNobody(t *testing.T) {
	bastion, target := startSSHD(t).settings(), startSSHD(t).settings()
	p := pool(t, behind(bastion, target), func(p *Pool) {
		p.pace.passageHold = time.Millisecond
		p.config.ConnectTimeout = time.Hour
		for i := range 2 * handshakesAtOnce {
			p.config.Hosts[string(rune('a'+i))] = behind(bastion, listen(t, stall))
		}
	})
	ended := make(chan error, 2*handshakesAtOnce)
	for i := range 2 * handshakesAtOnce {
		c, err := p.Conn(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := c.Run(context.Background(), echo("x"))
			ended <- err
		}()
	}
	mustEcho(t, conn(t, p))
	if len(ended) != 0 {
		t.Errorf("a stalled host answered: %v", <-ended)
	}
	p.Close()
	for range 2 * handshakesAtOnce {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

// However many hosts are behind a jump host that is dead, and whenever they are asked for, it is dialled once: the
// failure answers for all. Who waits for a host dials anew.
func TestHostsBehindADeadJumpHostShareItsFailure(t *testing.T) {
	for _, places := range []int{1, 100} {
		t.Run(fmt.Sprintf("at most %d connected", places), func(t *testing.T) {
			var mu sync.Mutex
			dials := 0
			dead := listen(t, func(c net.Conn) {
				mu.Lock()
				dials++
				mu.Unlock()
				stall(c)
			})
			const hosts = 50
			p := NewPool(Config{Hosts: map[string]route.Settings{"middle": behind(dead, route.Settings{Address: "192.0.2.1"})},
				MaxConnections: places, ConnectTimeout: 500 * time.Millisecond})
			t.Cleanup(p.Close)
			p.pace.answersFor = func(error, time.Duration) time.Duration { return time.Hour }
			conns := make([]*Conn, hosts)
			for i := range conns {
				name, set := fmt.Sprint("host", i), behind(dead, route.Settings{Address: "192.0.2.2"})
				if i%2 == 1 { // a chain: two jump hosts, the first of which is the dead one
					set = route.Settings{Address: "192.0.2.2", Bastion: &route.Bastion{Host: "middle"}}
				}
				p.config.Hosts[name] = set
				var err error
				if conns[i], err = p.Conn(name); err != nil {
					t.Fatal(err)
				}
			}
			var all sync.WaitGroup
			for _, c := range conns[:hosts/2] { // these at the same time
				all.Go(func() { fails(t, c, fault.Unreachable, "its jump host", "no answer within 500ms") })
			}
			all.Wait()
			for _, c := range conns { // and these after each other
				fails(t, c, fault.Unreachable, "its jump host", "no answer within 500ms")
			}
			dialled := func() int {
				mu.Lock()
				defer mu.Unlock()
				return dials
			}
			if n := dialled(); n != 1 {
				t.Errorf("%d dials for %d hosts, want 1", n, hosts)
			}
			p.config.Timeout = time.Nanosecond
			wantError(t, route.Settings{}, conns[1].Wait(t.Context()), fault.Unreachable, "its jump host")
			if n := dialled(); n < 2 {
				t.Error("who waited for a host got the old failure")
			}
		})
	}
}

func TestJumpHostThatGoesDarkDuringAHandshakeIsGivenUp(t *testing.T) {
	reached := make(chan struct{}, 1)
	target := listen(t, func(c net.Conn) { // before the wire, whose end lets it end
		_, _ = c.Read(make([]byte, 1))
		reached <- struct{}{} // the handshake has begun
		stall(c)
	})
	bastion := startSSHD(t)
	w := startWire(t, bastion.addr)
	set := behind(w.settings(bastion.settings()), target)
	p := pool(t, set, func(p *Pool) { p.pace.keepalive = time.Hour }) // nothing but the timeout ends it
	mustPass := func() {
		t.Helper()
		c := conn(t, p)
		_, leave, err := c.dialer.prepare(false)
		if err != nil {
			t.Fatal(err)
		}
		leave()
	}
	mustPass()
	p.config.ConnectTimeout = 300 * time.Millisecond
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		<-reached
		w.dark()
	})
	fails(t, conn(t, p), fault.Unreachable, "no answer within 300ms")
}
