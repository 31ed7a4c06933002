package login

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
)

// offer is a key that notes when the library offers it, and when it does not sign.
type offer struct {
	ssh.AlgorithmSigner
	algorithms []string
	offered    func()
	unsigned   func(error)
}

// Algorithms are those by which the key may sign.
func (o *offer) Algorithms() []string { return o.algorithms }

// PublicKey is called when it is the key's turn.
func (o *offer) PublicKey() ssh.PublicKey {
	o.offered()
	return o.AlgorithmSigner.PublicKey()
}

func (o *offer) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signature, err := o.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err != nil {
		o.unsigned(err)
	}
	return signature, err
}

// publicKeys offers keys. Those behind one that does not sign are left to the next call of Listen.
func (l *Attempt) publicKeys(signers []ssh.Signer) ssh.AuthMethod {
	offers := make([]ssh.Signer, 0, len(signers))
	for i, s := range signers {
		known := false
		name := describe(s.PublicKey())
		algorithms, ok := s.(ssh.AlgorithmSigner)
		if !ok {
			offers = append(offers, s) // which no signer of x/crypto/ssh is
			continue
		}
		may := l.mayUse(s)
		if len(may) == 0 {
			l.notes = append(l.notes, "the "+name+" is of a type that ssh_config does not accept "+
				"(PubkeyAcceptedAlgorithms)")
			continue
		}
		if bits := hostkey.RSABits(s.PublicKey()); bits > 0 && bits < l.route.RequiredRSASize {
			l.notes = append(l.notes, fmt.Sprintf("the %s has %d bits, and RequiredRSASize wants %d", name, bits,
				l.route.RequiredRSASize))
			continue
		}
		offers = append(offers, &offer{algorithms, may, func() {
			if !known {
				l.tried = append(l.tried, name)
			}
			known = true
		}, func(err error) {
			l.notes = append(l.notes, "the "+name+" does not sign ("+err.Error()+")")
			l.left = signers[i+1:]
		}})
	}
	return ssh.PublicKeys(offers...)
}

// mayUse are the algorithms of a key, plain ones also for a certificate, by which ssh_config lets it sign.
func (l *Attempt) mayUse(s ssh.Signer) []string {
	key := hostkey.Concrete(s.PublicKey())
	cert, certified := key.(*ssh.Certificate)
	if certified {
		key = cert.Key
	}
	has := []string{key.Type()}
	if key.Type() == ssh.KeyAlgoRSA {
		has = []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSA}
	}
	if m, ok := s.(ssh.MultiAlgorithmSigner); ok {
		has = slices.Clone(m.Algorithms())
	}
	return slices.DeleteFunc(has, func(a string) bool {
		if certified {
			a = CertificateAlgorithm(a)
		}
		return !slices.Contains(l.accepted, a)
	})
}

// CertificateAlgorithm is the algorithm of certificates for the keys of a plain one.
func CertificateAlgorithm(plain string) string {
	return strings.TrimSuffix(plain, "@openssh.com") + "-cert-v01@openssh.com"
}
