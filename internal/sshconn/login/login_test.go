package login

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"
)

// Guards that the password answers a question for it, in some languages, and no question for anything else.
func TestQuestionsForThePassword(t *testing.T) {
	for question, want := range map[string]bool{
		"Password: ": true, "(ops@web1) Password: ": true, "Password for ops@web1.example: ": true, "Passwort: ": true,
		"Mot de passe : ": true, "Contraseña: ": true, "パスワード: ": true,
		"Verification code: ": false, "One-time password (OATH) for `ops': ": false, "Enter PASSCODE: ": false,
		"OTP password: ": false, "Token: ": false, "Duo two-factor login for ops": false, "New password: ": false,
		"Code or password: ": false, "": false,
	} {
		if got := asksForPassword(question); got != want {
			t.Errorf("%q: %v", question, got)
		}
	}
}

// Guards that a key is read which begins with the curve, as OpenSSL writes it.
func TestKeyAfterItsParameters(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	curve := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: curve})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	var keys Keys
	if k := keys.parse(keyText{key: text}); k.err != nil {
		t.Error(k.err)
	}
	if k := keys.parse(keyText{key: text[:len(text)-40]}); k.err == nil {
		t.Error("half a key was taken")
	}
}
