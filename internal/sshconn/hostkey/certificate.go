package hostkey

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// UsualAuthorities returns the algorithms by which an authority may sign, if CASignatureAlgorithms says nothing.
func UsualAuthorities() []string {
	return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
}

// checkSignature returns an error unless the certificate is signed by the key that it names as its authority.
func checkSignature(cert *ssh.Certificate) error {
	unsigned := *cert
	unsigned.Signature = nil
	signed := unsigned.Marshal()
	if cert.Signature == nil || cert.SignatureKey.Verify(signed[:len(signed)-len("\x00\x00\x00\x00")],
		cert.Signature) != nil {
		return errors.New("it is not signed by its authority")
	}
	return nil
}

// checkCertificate returns why a certificate, of an authority that may vouch for the host, does not count. It is not
// the library's check, which refuses certificates without principals. They are for every host, as for ssh before 10.3.
func (r Rules) checkCertificate(cert *ssh.Certificate, now time.Time) error {
	day := func(t uint64) string {
		if t > 1<<60 {
			return strconv.FormatUint(t, 10)
		}
		return time.Unix(int64(t), 0).UTC().Format(time.RFC3339)
	}
	unix := uint64(max(now.Unix(), 0))
	switch {
	case cert.CertType != ssh.HostCert:
		return errors.New("it is not for a host")
	case unix < cert.ValidAfter:
		return errors.New("it is not yet valid, but from " + day(cert.ValidAfter) + " on")
	case unix >= cert.ValidBefore:
		return errors.New("it expired at " + day(cert.ValidBefore))
	case len(cert.ValidPrincipals) > 0 && !slices.Contains(cert.ValidPrincipals, r.principal()):
		return fmt.Errorf("%s is not among its principals, %s", r.principal(), strings.Join(cert.ValidPrincipals, ", "))
	case len(cert.CriticalOptions) > 0:
		return errors.New("it has critical options that are not known here")
	case !slices.Contains(r.Authorities, cert.Signature.Format):
		return errors.New("it is signed by the algorithm " + cert.Signature.Format +
			", which CASignatureAlgorithms does not allow")
	}
	return nil
}
