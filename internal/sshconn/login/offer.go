package login

import (
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
)

// offer is a key that notes when the library offers it, and when it does not sign.
type offer struct {
	ssh.AlgorithmSigner
	offered  func()
	unsigned func(error)
}

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

// limitedOffer is an offer that signs by some algorithms only.
type limitedOffer struct {
	*offer
	algorithms []string
}

// Algorithms are those by which the key may sign.
func (o limitedOffer) Algorithms() []string { return o.algorithms }

// certificateSuffix ends the name of an algorithm for certificates.
const certificateSuffix = "-cert-v01@openssh.com"

// CertificateAlgorithm is the name of an algorithm for keys as it is called for certificates.
func CertificateAlgorithm(algorithm string) string {
	name, _ := strings.CutSuffix(algorithm, "@openssh.com") // of those for security keys
	return name + certificateSuffix
}

// restricted returns a signer that signs by accepted algorithms only, nil if there is none for its key.
func (l *Attempt) restricted(s ssh.Signer) ssh.Signer {
	signer, ok := s.(ssh.AlgorithmSigner)
	if l.accepted == nil || !ok {
		return s
	}
	key := s.PublicKey()
	_, certified := key.(*ssh.Certificate)
	algorithms := []string{hostkey.Plain(key).Type()}
	if algorithms[0] == ssh.KeyAlgoRSA {
		algorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	algorithms = slices.DeleteFunc(algorithms, func(a string) bool {
		if certified {
			a = CertificateAlgorithm(a)
		}
		return !slices.Contains(l.accepted, a)
	})
	limited, err := ssh.NewSignerWithAlgorithms(signer, algorithms)
	if err != nil {
		l.notes = append(l.notes, "the "+describe(key)+" is none that PubkeyAcceptedAlgorithms of ssh_config allows")
		return nil
	}
	return limited
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
		o := &offer{algorithms, func() {
			if !known {
				l.tried = append(l.tried, name)
			}
			known = true
		}, func(err error) {
			l.notes = append(l.notes, "the "+name+" does not sign ("+err.Error()+")")
			l.left = signers[i+1:]
		}}
		if limited, ok := s.(ssh.MultiAlgorithmSigner); ok {
			offers = append(offers, limitedOffer{o, limited.Algorithms()})
			continue
		}
		offers = append(offers, o)
	}
	return ssh.PublicKeys(offers...)
}
