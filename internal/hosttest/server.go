package hosttest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

var errRefused = errors.New("permission denied")

// configure makes the host key and the rules of authentication.
func (h *Host) configure() error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	h.hostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	h.config = &ssh.ServerConfig{
		MaxAuthTries:  h.opts.MaxAuthTries,
		ServerVersion: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7",
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			for _, k := range h.m.user(c.User()).Keys {
				if string(k.Marshal()) == string(key.Marshal()) {
					return nil, nil
				}
			}
			return nil, errRefused
		},
		PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if want := h.m.user(c.User()).Password; want != "" && want == string(password) {
				return nil, nil
			}
			return nil, errRefused
		},
	}
	if h.opts.BannerText != "" {
		h.config.BannerCallback = func(ssh.ConnMetadata) string { return h.opts.BannerText }
	}
	h.config.AddHostKey(signer)
	return nil
}

// serverConn is one TCP connection.
type serverConn struct {
	h        *Host
	tcp      net.Conn
	user     string // after authentication; the host's mutex guards it
	sessions int    // open ones; the same
	running  sync.WaitGroup
}

func (h *Host) accept() {
	for {
		tcp, err := h.listener.Accept()
		if err != nil {
			return
		}
		c := &serverConn{h: h, tcp: tcp}
		h.mu.Lock()
		if h.down {
			reset(tcp)
		} else {
			h.conns[c] = true
			h.serving.Go(c.serve)
		}
		h.mu.Unlock()
	}
}

func (c *serverConn) serve() {
	defer func() {
		c.tcp.Close()
		c.running.Wait()
		c.h.mu.Lock()
		delete(c.h.conns, c)
		c.h.mu.Unlock()
	}()
	config := *c.h.config
	config.AuthLogCallback = c.onAttempt
	conn, channels, requests, err := ssh.NewServerConn(c.tcp, &config)
	if err != nil {
		return
	}
	c.running.Go(func() {
		for r := range requests {
			if r.WantReply { // keepalive@openssh.com among them: OpenSSH refuses what it does not know, and that is an answer
				_ = r.Reply(false, nil)
			}
		}
	})
	for nc := range channels {
		c.openChannel(nc)
	}
	_ = conn.Wait()
}

// onAttempt counts an attempt, and the login before the client hears of it: who has just logged in finds itself counted.
func (c *serverConn) onAttempt(meta ssh.ConnMetadata, method string, err error) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if method != "none" {
		c.h.attempts++
	}
	if err == nil {
		c.user = meta.User()
		c.h.total++
	}
}

func (c *serverConn) openChannel(nc ssh.NewChannel) {
	if nc.ChannelType() == "direct-tcpip" {
		c.running.Go(func() { c.forward(nc) })
		return
	}
	if nc.ChannelType() != "session" {
		_ = nc.Reject(ssh.UnknownChannelType, "unknown channel type")
		return
	}
	limit := c.h.opts.MaxSessions
	if limit == 0 {
		limit = 10
	}
	c.h.mu.Lock()
	free := c.sessions < limit
	if free {
		c.sessions++
	}
	c.h.mu.Unlock()
	if !free {
		_ = nc.Reject(ssh.ConnectionFailed, "open failed")
		return
	}
	c.running.Go(func() {
		c.session(nc)
		c.h.mu.Lock()
		c.sessions--
		c.h.mu.Unlock()
	})
}

// session serves one channel: the first exec, shell or subsystem request starts its program.
func (c *serverConn) session(nc ssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	var program sync.WaitGroup
	started := false
	for r := range requests {
		command, ok := c.command(r)
		if !ok || started {
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
			continue
		}
		started = true
		l := &link{m: c.h.m, tcp: c.tcp}
		if l.begin(execExchange) != nil {
			break
		}
		if r.WantReply && !l.isShut() {
			_ = r.Reply(true, nil)
		}
		program.Go(func() { c.runCommand(ch, l, command) })
	}
	program.Wait()
	ch.Close()
}

// command is the command line that a request asks for; ok is false for a request that starts nothing.
func (c *serverConn) command(r *ssh.Request) (command string, ok bool) {
	var payload struct{ Text string }
	switch r.Type {
	case "shell":
		command = "sh -s"
	case "exec":
		if ssh.Unmarshal(r.Payload, &payload) != nil {
			return "", false
		}
		command = payload.Text
	case "subsystem":
		if ssh.Unmarshal(r.Payload, &payload) != nil || payload.Text != "sftp" || c.h.opts.NoSFTP {
			return "", false
		}
		command = "exec /usr/lib/openssh/sftp-server"
	default:
		return "", false
	}
	if c.h.opts.ForceCommand != "" {
		command = c.h.opts.ForceCommand
	}
	return command, true
}

// runCommand runs a command line in the user's login shell and sends its status.
func (c *serverConn) runCommand(ch ssh.Channel, l *link, command string) {
	defer ch.Close()
	in, feed, err := os.Pipe()
	if err != nil {
		return
	}
	defer in.Close()
	if l.isShut() {
		feed.Close()
	} else {
		c.running.Go(func() {
			_, _ = io.Copy(feed, ch) // ends with the channel, or when nobody reads any more
			feed.Close()
		})
	}
	out := &output{w: gate{l, ch}}
	defer out.flush()
	l.out = out
	p := c.h.m.newProcess(c.h.m.ctx, c.h.m.credOf(c.user), in, out, gate{l, ch.Stderr()}, l)
	p.dir = p.cred.home
	p.printf("%s", c.h.opts.LoginNoise)
	status := p.script(strings.NewReader(command), in, nil)
	l.end()
	if l.isShut() {
		return
	}
	_ = ch.CloseWrite() // the client may be gone
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
}

// forward connects a channel to a TCP port, as a jump host does.
func (c *serverConn) forward(nc ssh.NewChannel) {
	var target struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &target) != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "bad request")
		return
	}
	var d net.Dialer
	tcp, err := d.DialContext(c.h.m.ctx, "tcp", net.JoinHostPort(target.Host, itoa(int(target.Port))))
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	defer tcp.Close()
	defer context.AfterFunc(c.h.m.ctx, func() { tcp.Close() })()
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	c.running.Go(func() { ssh.DiscardRequests(requests) })
	c.running.Go(func() {
		_, _ = io.Copy(tcp, ch)
		if half, ok := tcp.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	})
	_, _ = io.Copy(ch, tcp)
	ch.Close()
}
