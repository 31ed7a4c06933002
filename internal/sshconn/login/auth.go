// Package login logs in to a host: with the private keys, certificates, agent and password that its route has.
package login

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// signersBeforePassword leaves the password one of the six tries that sshd grants by default (MaxAuthTries): each wrong
// key is one.
const signersBeforePassword = 5

// Attempt is what one try to log in has at hand, and what became of it.
type Attempt struct {
	route  *route.Route
	faults fault.Maker
	parsed *Keys
	// accepted are the algorithms by which keys may sign.
	accepted []string
	// set is the private_key of the settings, if any, and files are the keys in files. agentOnly are those of which only
	// the agent may have the private half.
	set, files []ssh.Signer
	agentOnly  []agentKey
	certs      []*ssh.Certificate
	// agent is where the agent listens. If it may be absent, one that does not exist is not noted.
	agent       string
	mayBeAbsent bool

	// tried are the ways that were tried, offered and passed what the host last named and accepted, and notes what else a
	// user must know when none worked.
	tried, offered, passed, notes []string
	// mute says that the agent did not answer in time.
	mute bool
	// left are the keys behind one that did not sign.
	left []ssh.Signer
}

// New reads the keys and certificates for a route. They sign by the accepted algorithms alone. The errors that it and
// its methods return are made by faults.
func New(r *route.Route, accepted []string, parsed *Keys, faults fault.Maker) (*Attempt, error) {
	s := r.Settings
	l := &Attempt{route: r, accepted: accepted, faults: faults, parsed: parsed}
	if s.PrivateKey != "" {
		k := parsed.parse(keyText{s.PrivateKey, s.PrivateKeyPassphrase})
		if k.err != nil {
			why, next := explainKey(s, k.err)
			return nil, faults.New(fault.KeyUnusable, why, next, nil)
		}
		l.set = append(l.set, k.signer)
	}
	if why, next := l.addCertificate(s.Certificate); why != "" {
		return nil, faults.New(fault.KeyUnusable, why, next, nil)
	}
	l.readIdentities(r.Added)
	wanted := s.Agent != nil && *s.Agent
	if s.Agent == nil || wanted {
		l.agent = agentSocket(r.IdentityAgent)
	}
	if wanted && l.agent == "" {
		l.agent = agentSocket("")
	}
	l.mayBeAbsent = l.agent == usualAgent && !wanted
	if wanted && l.agent == "" {
		return nil, faults.New(fault.KeyUnusable, "agent is true and SSH_AUTH_SOCK is not set",
			"Start an agent and add the key to it, or set private_key", nil)
	}
	return l, nil
}

// agentSocket is the path of the agent's socket that IdentityAgent names, or on Windows that of its pipe, and empty if
// there is no agent.
func agentSocket(identityAgent string) string {
	const socket = "SSH_AUTH_SOCK"
	name, variable := strings.CutPrefix(identityAgent, "$")
	switch {
	case identityAgent == "", identityAgent == socket:
		return cmp.Or(os.Getenv(socket), usualAgent)
	case strings.EqualFold(identityAgent, "none"):
		return ""
	case variable:
		return os.Getenv(name)
	}
	return identityAgent
}

// addCertificate reads the certificate that the settings have.
func (l *Attempt) addCertificate(text string) (why, next string) {
	if text == "" {
		return "", ""
	}
	cert, err := parseCertificate(text)
	if err != nil {
		return "certificate cannot be used (" + err.Error() + ")",
			"Give the text of the file that ssh-keygen -s made: file(\"~/.ssh/id_ed25519-cert.pub\")"
	}
	if len(l.set) > 0 && !sameKey(l.set[0].PublicKey(), cert.Key) {
		return "certificate is for the key " + hostkey.Fingerprint(cert.Key) + ", and private_key is " +
				hostkey.Fingerprint(l.set[0].PublicKey()),
			"Give the certificate that was made for private_key"
	}
	l.certify(cert, "certificate")
	return "", ""
}

// certify takes a certificate that is in force.
func (l *Attempt) certify(cert *ssh.Certificate, from string) {
	now := uint64(time.Now().Unix()) //nolint:gosec // after 1970
	show := func(second uint64) string {
		return time.Unix(int64(second), 0).UTC().Format(time.RFC3339) //nolint:gosec // shown only
	}
	switch {
	case cert.ValidBefore != ssh.CertTimeInfinity && now >= cert.ValidBefore:
		l.notes = append(l.notes, fmt.Sprintf("%s expired at %s", from, show(cert.ValidBefore)))
	case now < cert.ValidAfter:
		l.notes = append(l.notes, fmt.Sprintf("%s is not valid before %s", from, show(cert.ValidAfter)))
	default:
		l.certs = append(l.certs, cert)
	}
}

// signers are the keys to offer, in ssh's order behind private_key: those in files that the agent has too, the agent's
// others, the rest of those in files; each after its certificates.
func (l *Attempt) signers(agentKeys []ssh.Signer) []ssh.Signer {
	var named, others []ssh.Signer
	files := slices.Clone(l.files)
	for _, s := range agentKeys {
		inFile := slices.IndexFunc(files, func(f ssh.Signer) bool {
			return bytes.Equal(f.PublicKey().Marshal(), s.PublicKey().Marshal())
		})
		switch {
		case inFile >= 0:
			named = append(named, files[inFile])
			files = slices.Delete(files, inFile, inFile+1)
		case slices.ContainsFunc(l.agentOnly, func(k agentKey) bool { return sameKey(k.public, s.PublicKey()) }):
			named = append(named, s)
		case !l.route.IdentitiesOnly:
			others = append(others, s)
		}
	}
	for _, k := range l.agentOnly {
		if !slices.ContainsFunc(named, func(s ssh.Signer) bool { return sameKey(k.public, s.PublicKey()) }) {
			l.notes = append(l.notes, "the key "+k.file+" ("+ssh.FingerprintSHA256(k.public)+") "+k.why+
				", and the agent does not have it")
		}
	}
	var offer []ssh.Signer
	have := map[string]bool{}
	add := func(s ssh.Signer) {
		if id := string(s.PublicKey().Marshal()); !have[id] {
			have[id] = true
			offer = append(offer, s)
		}
	}
	for _, s := range slices.Concat(l.set, named, others, files) {
		for _, cert := range l.certs {
			if !sameKey(cert.Key, s.PublicKey()) {
				continue
			}
			if certified, err := ssh.NewCertSigner(cert, s); err == nil {
				add(certified)
			}
		}
		add(s)
	}
	return offer
}

// Methods are all ways to log in, for one connection: newer sshd locks out a source that fails often. Done ends the
// conversation with the agent.
func (l *Attempt) Methods(ctx context.Context) (methods []ssh.AuthMethod, done func()) {
	done = func() {}
	agentKeys, hangUp := l.agentSigners(ctx)
	if hangUp != nil {
		done = hangUp
	}
	signers := l.signers(agentKeys)
	for i, method := range l.route.Methods {
		switch {
		case method == route.PublicKey && len(signers) > 0:
			if l.route.Password != "" && i < len(l.route.Methods)-1 && len(signers) > signersBeforePassword {
				l.notes = append(l.notes, fmt.Sprintf("only the first %d of %d keys were offered, which leaves one try for the "+
					"password", signersBeforePassword, len(signers)))
				signers = signers[:signersBeforePassword]
			}
			methods = append(methods, l.publicKeys(signers))
		case method == route.Password && l.route.Password != "":
			methods = append(methods, ssh.PasswordCallback(func() (string, error) {
				l.tried = append(l.tried, route.Password)
				return l.route.Password, nil
			}))
		case method == route.KeyboardInteractive && l.route.Password != "":
			methods = append(methods, ssh.KeyboardInteractive(l.answer))
		}
	}
	return methods, done
}

// answer answers the question for the password, and no other.
func (l *Attempt) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	l.tried = append(l.tried, route.KeyboardInteractive)
	if len(questions) > 1 || echos[0] || !asksForPassword(questions[0]) {
		l.notes = append(l.notes, "the host also asks "+fault.Excerpt(strings.Join(questions, " "), l.route.Secrets()...))
		return nil, errors.New("a question that is not for a password")
	}
	return []string{l.route.Password}, nil
}

// asksForPassword reports whether a question is for the password, as PAM asks it in some languages, and not for a code
// of one use: that would be a wrong answer, which counts against the user.
func asksForPassword(question string) bool {
	question = strings.ToLower(question)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(question, word) })
	}
	return has("password", "passwort", "mot de passe", "contraseña", "senha", "wachtwoord", "пароль", "密码", "密碼",
		"パスワード") && !has("one-time", "one time", "otp", "oath", "token", "code", "new password", "yubikey")
}

// Mute returns the error if the agent did not answer in time, else nil.
func (l *Attempt) Mute() error {
	if !l.mute {
		return nil
	}
	return l.faults.New(fault.KeyUnusable, "the agent at "+l.agent+" did not say in time which keys it has",
		"See whether 'ssh-add -l' answers, and start the agent anew, or do without it (agent = false)", nil)
}

// Note adds what a user must know if no way worked.
func (l *Attempt) Note(text string) { l.notes = append(l.notes, text) }

// Listen notes what the host offers; it is an ssh.ClientAuthCallback that leaves the choice to the library, unless keys
// are left behind one that did not sign, at which the library gives up.
func (l *Attempt) Listen(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.offered, l.passed = c.AllowedMethods, c.PartialSuccessMethods
	left := l.left
	l.left = nil
	if len(left) > 0 && slices.Contains(c.AllowedMethods, route.PublicKey) {
		return l.publicKeys(left), nil
	}
	return nil, nil
}

// describe names a key or certificate that was offered.
func describe(key ssh.PublicKey) string {
	cert, ok := hostkey.Concrete(key).(*ssh.Certificate)
	if !ok {
		return "key " + ssh.FingerprintSHA256(key)
	}
	text := fmt.Sprintf("certificate %q of key %s", cert.KeyId, ssh.FingerprintSHA256(cert.Key))
	if len(cert.ValidPrincipals) > 0 {
		text += " for " + strings.Join(cert.ValidPrincipals, ", ")
	}
	return text
}

// agentSigners asks the agent for its keys. An agent that does not answer is a note, not a failure: another way may
// work.
func (l *Attempt) agentSigners(ctx context.Context) (signers []ssh.Signer, hangUp func()) {
	if l.agent == "" || !slices.Contains(l.route.Methods, route.PublicKey) {
		return nil, nil
	}
	unheard := func(err error) {
		l.notes = append(l.notes, "the agent at "+l.agent+" did not answer ("+err.Error()+")")
	}
	conn, err := dialAgent(ctx, l.agent)
	if err != nil {
		if !l.mayBeAbsent || !errors.Is(err, fs.ErrNotExist) {
			unheard(err)
		}
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
	switch signers, err = agent.NewClient(conn).Signers(); {
	case err != nil && ctx.Err() != nil:
		l.mute = true
	case err != nil:
		unheard(err)
	case len(signers) == 0:
		l.notes = append(l.notes, "the agent at "+l.agent+" has no keys, or is locked")
	}
	return signers, hangUp
}

// forbidden finds a method that the host offers and a line of ssh_config forbids, though it could be tried.
func (l *Attempt) forbidden() (by, method string) {
	for _, method := range l.offered {
		if by := l.route.Forbidden[method]; by != "" && (method == route.PublicKey || l.route.Password != "") {
			return by, method
		}
	}
	return "", ""
}

// Refused says what was tried in vain, and what the host offered.
func (l *Attempt) Refused(banner string, err error) error {
	why := "the host does not let user " + l.route.User + " in"
	next := "Check the user and its authorized_keys, and the sshd log of the host"
	empty := len(l.tried) == 0 && l.route.Password == "" && len(l.set)+len(l.files)+len(l.agentOnly) == 0
	by, method := l.forbidden()
	switch {
	case len(l.tried) > 0:
		why += "; tried: " + strings.Join(l.tried, ", ")
	case by != "": // which follows
	case empty && len(l.notes) == 0:
		why += "; no key, agent or password is there to try"
		next = "Set private_key or password, or start an agent"
	default:
		why += "; none of the ways at hand is one that the host offers"
	}
	if len(l.passed) > 0 {
		why += "; it accepted " + strings.Join(l.passed, ", ") + " and wants more"
		next = "Set what is missing, where that is a password. For a second factor, log in with ssh, have it share the " +
			"connection ('ssh -fNM -o ControlPersist=1h -S PATH HOST'), and set control_path to that path"
	}
	if len(l.offered) > 0 {
		why += "; it offers: " + strings.Join(l.offered, ", ")
	}
	tooMany := strings.Contains(err.Error(), "Too many authentication failures")
	if tooMany {
		why += "; the host allows no more tries than these"
		next = "Name the key with private_key, or with IdentityFile and IdentitiesOnly yes"
	}
	if len(l.notes) > 0 {
		why += " (" + strings.Join(l.notes, "; ") + ")"
	}
	if by != "" && !tooMany {
		why += "; " + by + ", so that " + method + " was not tried"
		next = "Change that line, or set private_key, agent = true or password, which count before ssh_config"
	}
	if text := fault.Excerpt(banner, l.route.Secrets()...); text != "" {
		why += "; it said: " + text
	}
	return l.faults.New(fault.AuthRefused, why, next, err)
}
