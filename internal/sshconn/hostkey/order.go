package hostkey

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Preferred returns the algorithms for host keys without known weaknesses, in the order in which ssh prefers them: of
// two keys that a host has, the one that counts and is recorded is the one that ssh would ask for.
func Preferred() []string {
	types := []string{"ed25519", "nistp256", "nistp384", "nistp521", "sha2-512", "sha2-256"}
	rank := func(a string) int {
		n := slices.IndexFunc(types, func(name string) bool { return strings.Contains(a, name) })
		if n < 0 {
			n = len(types)
		}
		if !isCertificate(a) {
			n += len(types) + 1
		}
		return n
	}
	return slices.SortedStableFunc(slices.Values(ssh.SupportedAlgorithms().HostKeys),
		func(a, b string) int { return rank(a) - rank(b) })
}

func isCertificate(algorithm string) bool { return strings.Contains(algorithm, "-cert-") }

// keyType is the type of the plain key that an algorithm wants.
func keyType(algorithm string) string {
	switch plain := strings.Replace(algorithm, "-cert-v01@openssh.com", "", 1); {
	case plain == ssh.KeyAlgoRSASHA512 || plain == ssh.KeyAlgoRSASHA256:
		return ssh.KeyAlgoRSA
	case plain != algorithm && strings.HasPrefix(plain, "sk-"):
		return plain + "@openssh.com"
	default:
		return plain
	}
}

// ordered returns algorithms in the order in which ssh asks for them, given the lines for the host: those of keys that
// are known come first, and certificates if there is an authority. If a key for the first one is known, nothing moves.
func ordered(algorithms []string, known []entry) []string {
	authority := slices.ContainsFunc(known, func(e entry) bool { return e.marker == authorityLine })
	has := func(algorithm string) bool {
		i := slices.IndexFunc(known, func(e entry) bool {
			return e.marker == plainLine && e.key.Type() == keyType(algorithm)
		})
		return i >= 0 && compare(known, known[i].key).status != revoked
	}
	if len(algorithms) == 0 || has(algorithms[0]) {
		return algorithms
	}
	var first, last []string
	for _, a := range algorithms {
		if authority && isCertificate(a) || has(a) {
			first = append(first, a)
		} else {
			last = append(last, a)
		}
	}
	return append(first, last...)
}

// accepts reports whether one of the algorithms is for keys of the type of key.
func accepts(algorithms []string, key ssh.PublicKey) bool {
	return slices.ContainsFunc(algorithms, func(a string) bool { return !isCertificate(a) && keyType(a) == key.Type() })
}
