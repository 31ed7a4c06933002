package login

// Keys and certificates: as text in the settings, and in the files that ssh_config names.

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

type keyText struct{ key, passphrase string }

type parsedKey struct {
	signer ssh.Signer
	err    error
}

// Keys are the private keys that were read so far. The zero value has none. It is safe for concurrent use.
type Keys struct {
	mu     sync.Mutex
	parsed map[keyText]func() parsedKey
}

// parse reads a private key once for all hosts: the key derivation of an encrypted one takes a good part of a second.
func (p *Keys) parse(k keyText) parsedKey {
	p.mu.Lock()
	f, ok := p.parsed[k]
	if !ok {
		f = sync.OnceValue(func() parsedKey {
			text := fromPrivateKey([]byte(k.key))
			signer, err := ssh.ParsePrivateKey(text)
			var encrypted *ssh.PassphraseMissingError
			if errors.As(err, &encrypted) && k.passphrase != "" {
				signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(k.passphrase))
			}
			return parsedKey{signer, err}
		})
		if p.parsed == nil {
			p.parsed = map[keyText]func() parsedKey{}
		}
		p.parsed[k] = f
	}
	p.mu.Unlock()
	return f()
}

// fromPrivateKey leaves out what PEM has before a private key, such as the curve that OpenSSL writes there.
func fromPrivateKey(text []byte) []byte {
	for at := text; ; {
		block, rest := pem.Decode(at)
		switch {
		case block == nil:
			return text
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return at
		}
		at = rest
	}
}

// containedPublicKey is the public key that a private one in OpenSSH's form has in clear; nil if text is no such key.
func containedPublicKey(text []byte) ssh.PublicKey {
	public, err := ssh.ParsePublicKey(containedPublicBlob(text))
	if err != nil {
		return nil
	}
	return public
}

// isDSA reports whether text is a DSA key in OpenSSH's form, which x/crypto does not read at all.
func isDSA(text []byte) bool {
	var key struct {
		Type string
		Rest []byte `ssh:"rest"`
	}
	const dsa = ssh.InsecureKeyAlgoDSA //nolint:staticcheck // it is refused
	return ssh.Unmarshal(containedPublicBlob(text), &key) == nil && key.Type == dsa
}

// containedPublicBlob is the public key in a private one in OpenSSH's form, as it travels; nil if text is no such key.
func containedPublicBlob(text []byte) []byte {
	const magic = "openssh-key-v1\x00"
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "OPENSSH PRIVATE KEY" || !bytes.HasPrefix(block.Bytes, []byte(magic)) {
		return nil
	}
	var key struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public               []byte
		Rest                 []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(block.Bytes[len(magic):], &key) != nil {
		return nil
	}
	return key.Public
}

// isPKCS8Encrypted reports whether text is an encrypted private key in PKCS#8's form, which x/crypto does not decrypt.
func isPKCS8Encrypted(text []byte) bool {
	block, _ := pem.Decode(fromPrivateKey(text))
	return block != nil && block.Type == "ENCRYPTED PRIVATE KEY"
}

// onSecurityKey reports whether the private half of a key is on a FIDO device.
func onSecurityKey(key ssh.PublicKey) bool { return key != nil && strings.HasPrefix(key.Type(), "sk-") }

// explainKey says why a private key cannot be used. It quotes nothing of the key.
func explainKey(s route.Settings, err error) (why, next string) {
	var encrypted *ssh.PassphraseMissingError
	key := strings.TrimSpace(s.PrivateKey)
	public := containedPublicKey([]byte(key))
	switch {
	case onSecurityKey(public):
		return "private_key is that of a security key, which signs through an agent only",
			"Add it to the agent (ssh-add), and leave private_key out"
	case isPKCS8Encrypted([]byte(key)):
		return "private_key is encrypted in the form of PKCS#8, which cannot be decrypted here",
			"Convert it: ssh-keygen -p -f KEY"
	case errors.As(err, &encrypted):
		return "private_key is encrypted and no passphrase is set", "Set private_key_passphrase, or add the key to an agent"
	case errors.Is(err, x509.IncorrectPasswordError):
		return "private_key_passphrase does not decrypt private_key", "Correct the passphrase"
	case strings.HasPrefix(key, "PuTTY-User-Key-File"):
		return "private_key is in PuTTY's own form", "Convert it: puttygen KEY.ppk -O private-openssh-new -o KEY"
	case strings.HasPrefix(key, "ssh-"), strings.HasPrefix(key, "ecdsa-"), strings.HasPrefix(key, "sk-"):
		return "private_key is a public key", "Give the private one, the file without .pub"
	case !strings.Contains(key, "BEGIN"):
		return "private_key is not the text of a private key",
			"Give the key itself, not its path: file(\"~/.ssh/id_ed25519\")"
	case isDSA([]byte(key)):
		return "private_key is a DSA key", "Make a key of another type: ssh-keygen -t ed25519"
	default:
		return "private_key cannot be read (" + strings.TrimPrefix(err.Error(), "ssh: ") + ")",
			"Give an unchanged private key in OpenSSH's or PEM form"
	}
}

// agentKey is a key in a file, of which only the agent may have the private half, and why it is of no use without.
type agentKey struct {
	public    ssh.PublicKey
	file, why string
}

// readIdentities takes the keys and certificates in files. As with ssh, one that cannot be used is no failure; it is
// noted.
func (l *Attempt) readIdentities(adds route.Added) {
	for _, f := range adds.Identities {
		l.readIdentity(f)
	}
	for _, f := range adds.Usual {
		if _, err := os.Stat(f); err == nil {
			l.readIdentity(f)
		}
	}
	for _, f := range adds.Certificates {
		l.readCertificate(f)
	}
}

// readIdentity adds the key in a file. If the private half cannot be read, the agent may have it.
func (l *Attempt) readIdentity(file string) {
	if _, err := os.Stat(file + "-cert.pub"); err == nil {
		l.readCertificate(file + "-cert.pub")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		public := readPublicKey(file + ".pub")
		if public == nil {
			l.notes = append(l.notes, "the key file "+err.Error())
			return
		}
		var reason *fs.PathError
		why := "cannot be read"
		if errors.As(err, &reason) {
			why += " (" + reason.Err.Error() + ")"
		}
		l.agentOnly = append(l.agentOnly, agentKey{public, file, why})
		return
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		l.agentOnly = append(l.agentOnly, agentKey{public, file, "is a public one"})
		return
	}
	var why string
	var signer ssh.Signer
	if openToOthers(file) {
		why = "is open to other users and does not count, as for ssh (chmod 600 " + file + ")"
	} else if signer, why = l.readPrivate(text); signer != nil {
		l.files = append(l.files, signer)
		return
	}
	public := containedPublicKey(text)
	if public == nil {
		public = readPublicKey(file + ".pub")
	}
	if public == nil {
		l.notes = append(l.notes, "the key file "+file+" "+why)
		return
	}
	l.agentOnly = append(l.agentOnly, agentKey{public, file, why})
}

// readPrivate reads the text of a private key, or says why it is of no use.
func (l *Attempt) readPrivate(text []byte) (signer ssh.Signer, why string) {
	k := l.parsed.parse(keyText{string(text), l.route.PrivateKeyPassphrase})
	public := containedPublicKey(text)
	switch {
	case k.err == nil:
		return k.signer, ""
	case onSecurityKey(public):
		return nil, "is on a security key"
	case errors.As(k.err, new(*ssh.PassphraseMissingError)):
		return nil, "is encrypted"
	case errors.Is(k.err, x509.IncorrectPasswordError):
		return nil, "is encrypted with another passphrase"
	case isPKCS8Encrypted(text):
		return nil, "is encrypted in the form of PKCS#8, which cannot be decrypted here (ssh-keygen -p converts it)"
	case isDSA(text):
		return nil, "is a DSA key"
	default:
		return nil, "cannot be read (" + strings.TrimPrefix(k.err.Error(), "ssh: ") + ")"
	}
}

func readPublicKey(file string) ssh.PublicKey {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func (l *Attempt) readCertificate(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		l.notes = append(l.notes, "the certificate "+err.Error())
		return
	}
	cert, err := parseCertificate(string(text))
	if err != nil {
		l.notes = append(l.notes, "the certificate "+file+" cannot be used ("+err.Error()+")")
		return
	}
	if !slices.ContainsFunc(l.certs, func(c *ssh.Certificate) bool { return bytes.Equal(c.Marshal(), cert.Marshal()) }) {
		l.certify(cert, "the certificate "+file)
	}
}

// parseCertificate reads the text of a user's certificate.
func parseCertificate(text string) (*ssh.Certificate, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, errors.New("it is not the text of a certificate")
	}
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok:
		return nil, errors.New("it is a public key without a signature")
	case cert.CertType != ssh.UserCert:
		return nil, errors.New("it is a host's certificate")
	}
	return cert, nil
}

// sameKey compares the keys themselves, also of certificates.
func sameKey(a, b ssh.PublicKey) bool {
	return bytes.Equal(hostkey.Plain(a).Marshal(), hostkey.Plain(b).Marshal())
}
