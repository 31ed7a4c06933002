package sshconn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// signersAtMost stays below the six tries that sshd grants by default (MaxAuthTries): each wrong key is one.
const signersAtMost = 5

// login is what one try to log in has at hand, and what became of it.
type login struct {
	conn  *Conn
	key   ssh.Signer
	agent string

	// tried are the ways that were tried, and notes what else a user must know when none worked.
	tried, notes []string
}

type keyText struct{ key, passphrase string }

type parsedKey struct {
	signer ssh.Signer
	err    error
}

// login reads the keys. It does no I/O.
func (c *Conn) login() (*login, error) {
	s := c.settings
	l := &login{conn: c}
	if s.PrivateKey != "" {
		k := c.pool.parse(keyText{s.PrivateKey, s.PrivateKeyPassphrase})
		if k.err != nil {
			why, next := explainKey(s, k.err)
			return nil, c.fault(KeyUnusable, why, next, nil)
		}
		l.key = k.signer
	}
	if s.Agent == nil || *s.Agent {
		l.agent = os.Getenv("SSH_AUTH_SOCK")
	}
	if s.Agent != nil && *s.Agent && l.agent == "" {
		return nil, c.fault(KeyUnusable, "agent is true and SSH_AUTH_SOCK is not set", "Start an agent and add the key to it, or set private_key", nil)
	}
	return l, nil
}

// parse reads a private key once for all hosts: the key derivation of an encrypted one takes a good part of a second.
func (p *Pool) parse(k keyText) parsedKey {
	p.mu.Lock()
	f, ok := p.keys[k]
	if !ok {
		f = sync.OnceValue(func() parsedKey {
			signer, err := ssh.ParsePrivateKey([]byte(k.key))
			var encrypted *ssh.PassphraseMissingError
			if errors.As(err, &encrypted) && k.passphrase != "" {
				signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(k.key), []byte(k.passphrase))
			}
			return parsedKey{signer, err}
		})
		p.keys[k] = f
	}
	p.mu.Unlock()
	return f()
}

// explainKey says why a private key cannot be used. It quotes nothing of the key.
func explainKey(s Settings, err error) (why, next string) {
	var encrypted *ssh.PassphraseMissingError
	key := strings.TrimSpace(s.PrivateKey)
	switch {
	case errors.As(err, &encrypted):
		return "private_key is encrypted and no passphrase is set", "Set private_key_passphrase, or add the key to an agent"
	case errors.Is(err, x509.IncorrectPasswordError):
		return "private_key_passphrase does not decrypt private_key", "Correct the passphrase"
	case strings.HasPrefix(key, "PuTTY-User-Key-File"):
		return "private_key is in PuTTY's own form", "Convert it: puttygen KEY.ppk -O private-openssh-new -o KEY"
	case strings.HasPrefix(key, "ssh-"), strings.HasPrefix(key, "ecdsa-"), strings.HasPrefix(key, "sk-"):
		return "private_key is a public key", "Give the private one, the file without .pub"
	case !strings.Contains(key, "BEGIN"):
		return "private_key is not the text of a private key", "Give the key itself, not its path: file(\"~/.ssh/id_ed25519\")"
	default:
		return "private_key cannot be read (" + strings.TrimPrefix(err.Error(), "ssh: ") + ")", "Give an unchanged private key in OpenSSH's or PEM form"
	}
}

// methods are all ways to log in, for one connection: newer sshd locks out a source that fails often. Done ends the conversation with the agent.
func (l *login) methods(ctx context.Context) (methods []ssh.AuthMethod, done func()) {
	done = func() {}
	signers, hangUp := l.agentSigners(ctx)
	if hangUp != nil {
		done = hangUp
	}
	if l.key != nil {
		signers = append([]ssh.Signer{l.key}, signers...)
	}
	if len(signers) > signersAtMost {
		l.notes = append(l.notes, fmt.Sprintf("only the first %d of %d keys were offered", signersAtMost, len(signers)))
		signers = signers[:signersAtMost]
	}
	if len(signers) > 0 {
		methods = append(methods, ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			for _, s := range signers {
				l.tried = append(l.tried, "key "+ssh.FingerprintSHA256(s.PublicKey()))
			}
			return signers, nil
		}))
	}
	if password := l.conn.settings.Password; password != "" {
		methods = append(methods,
			ssh.PasswordCallback(func() (string, error) {
				l.tried = append(l.tried, "password")
				return password, nil
			}),
			ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
				if len(questions) == 0 {
					return nil, nil
				}
				l.tried = append(l.tried, "keyboard-interactive")
				if len(questions) > 1 || echos[0] {
					l.notes = append(l.notes, "the host also asks "+excerpt(strings.Join(questions, " ")))
					return nil, errors.New("a question that is not for a password")
				}
				return []string{password}, nil
			}))
	}
	return methods, done
}

// agentSigners asks the agent for its keys. An agent that does not answer is a note, not a failure: another way may work.
func (l *login) agentSigners(ctx context.Context) (signers []ssh.Signer, hangUp func()) {
	if l.agent == "" {
		return nil, nil
	}
	unheard := func(err error) {
		l.notes = append(l.notes, "the agent at SSH_AUTH_SOCK did not answer ("+err.Error()+")")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", l.agent)
	if err != nil {
		unheard(err)
		return nil, nil
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close()
		close(closed)
	})
	hangUp = func() {
		if !stop() {
			<-closed
			return
		}
		_ = conn.Close()
	}
	if signers, err = agent.NewClient(conn).Signers(); err != nil {
		unheard(err)
	}
	return signers, hangUp
}

// refused says what was tried in vain.
func (l *login) refused(banner string, err error) error {
	c := l.conn
	why := "the host does not let user " + c.settings.User + " in"
	next := "Check the user and its authorized_keys, and the sshd log of the host"
	switch {
	case len(l.tried) > 0:
		why += "; tried: " + strings.Join(l.tried, ", ")
	case l.key == nil && c.settings.Password == "" && len(l.notes) == 0:
		why += "; no key, agent or password is there to try"
		next = "Set private_key or password, or start an agent"
	default:
		why += "; none of the ways at hand is one that the host offers"
	}
	if len(l.notes) > 0 {
		why += " (" + strings.Join(l.notes, "; ") + ")"
	}
	if text := excerpt(banner, c.secrets()...); text != "" {
		why += "; it said: " + text
	}
	return c.fault(AuthRefused, why, next, err)
}
