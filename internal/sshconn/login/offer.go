package login

import (
	"io"

	"golang.org/x/crypto/ssh"
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
		offers = append(offers, &offer{algorithms, func() {
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
