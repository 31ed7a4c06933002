package hostkey

import (
	"crypto/rsa"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Plain is the key itself, also of a certificate.
func Plain(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := Concrete(key).(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// Concrete is a key that an agent names as the library's own type.
func Concrete(key ssh.PublicKey) ssh.PublicKey {
	if _, ok := key.(*agent.Key); !ok {
		return key
	}
	if parsed, err := ssh.ParsePublicKey(key.Marshal()); err == nil {
		return parsed
	}
	return key
}

// RSABits is how many bits an RSA key has, also that of a certificate, and 0 for a key of another type.
func RSABits(key ssh.PublicKey) int {
	if k, ok := Plain(key).(ssh.CryptoPublicKey); ok {
		if public, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			return public.N.BitLen()
		}
	}
	return 0
}

// Fingerprint names a key as ssh-keygen -l does.
func Fingerprint(key ssh.PublicKey) string {
	plain := Plain(key)
	return plain.Type() + " " + ssh.FingerprintSHA256(plain)
}
