package hostkey

import (
	"bytes"
	"cmp"
	"crypto/sha1" //nolint:gosec // a list may name keys by it
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"golang.org/x/crypto/ssh"
)

// krlMagic begins a key revocation list (OpenSSH, PROTOCOL.krl).
var krlMagic = []byte("SSHKRL\n\x00")

// krl is a key revocation list, as `ssh-keygen -k` makes it. Its signatures do not count, as for ssh.
type krl struct {
	// keys are revoked keys, as they stand in a public key's file, and sums their hashes.
	keys, sums map[string]bool
	certs      []revokedCerts
}

// revokedCerts are certificates of one authority that are revoked.
type revokedCerts struct {
	ca      []byte // nil: of any authority
	serials []serialRange
	bitmaps []serialBitmap
	ids     map[string]bool
}

type serialRange struct{ from, to uint64 }

type serialBitmap struct {
	from uint64
	bits *big.Int
}

// The sections of a list, and those of a section on certificates.
const (
	krlCertificates = 1
	krlKeys         = 2
	krlSHA1         = 3
	krlSignature    = 4
	krlSHA256       = 5
	krlExtension    = 255

	krlSerials    = 0x20
	krlRange      = 0x21
	krlBitmap     = 0x22
	krlIDs        = 0x23
	krlCertOption = 0x39
)

var errShortKRL = errors.New("the revocation list ends too early")

// krlReader reads the fields of a list. After the first error all fields are empty.
type krlReader struct {
	rest []byte
	err  error
}

func (r *krlReader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.rest)) {
		r.err = cmp.Or(r.err, errShortKRL)
		return make([]byte, min(n, 8))
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *krlReader) more() bool     { return r.err == nil && len(r.rest) > 0 }
func (r *krlReader) byte() byte     { return r.take(1)[0] }
func (r *krlReader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *krlReader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *krlReader) string() []byte { return r.take(uint64(r.uint32())) }

// section returns a reader of the next string.
func (r *krlReader) section() *krlReader { return &krlReader{rest: r.string(), err: r.err} }

// parseKRL reads a list. A part that is not understood is an error, since it may revoke the key in question.
func parseKRL(text []byte) (*krl, error) {
	r := &krlReader{rest: bytes.TrimPrefix(text, krlMagic)}
	if version := r.uint32(); version != 1 && r.err == nil {
		return nil, fmt.Errorf("the revocation list has the version %d", version)
	}
	r.take(3 * 8) // its number, when it was made, and flags
	r.string()    // reserved
	r.string()    // a comment
	list := &krl{keys: map[string]bool{}, sums: map[string]bool{}}
	for r.more() {
		kind := r.byte()
		if kind == krlSignature { // only signatures follow
			break
		}
		s := r.section()
		switch kind {
		case krlCertificates:
			s.certificates(list)
		case krlKeys:
			for s.more() {
				list.keys[string(s.string())] = true
			}
		case krlSHA1, krlSHA256:
			for s.more() {
				list.sums[string(s.string())] = true
			}
		case krlExtension:
			s.extension()
		default:
			return nil, fmt.Errorf("the revocation list has a section of the unknown type %d", kind)
		}
		r.err = cmp.Or(r.err, s.err)
	}
	return list, r.err
}

// certificates reads a section on certificates.
func (r *krlReader) certificates(list *krl) {
	c := revokedCerts{ids: map[string]bool{}}
	if ca := r.string(); len(ca) > 0 {
		c.ca = ca
	}
	r.string() // reserved
	for r.more() {
		kind := r.byte()
		s := r.section()
		for s.more() {
			switch kind {
			case krlSerials:
				serial := s.uint64()
				c.serials = append(c.serials, serialRange{serial, serial})
			case krlRange:
				c.serials = append(c.serials, serialRange{s.uint64(), s.uint64()})
			case krlBitmap:
				c.bitmaps = append(c.bitmaps, serialBitmap{s.uint64(), new(big.Int).SetBytes(s.string())})
			case krlIDs:
				c.ids[string(s.string())] = true
			case krlCertOption:
				s.extension()
			default:
				s.err = fmt.Errorf("the revocation list has certificates by the unknown type %d", kind)
			}
		}
		r.err = cmp.Or(r.err, s.err)
	}
	list.certs = append(list.certs, c)
}

// extension reads one that may be ignored; a critical one is an error.
func (r *krlReader) extension() {
	name, critical := r.string(), r.byte()
	r.string()
	if r.err == nil && critical != 0 {
		r.err = fmt.Errorf("the revocation list has the critical extension %q", name)
	}
}

// revokes reports whether the list revokes a key, or a certificate or its authority.
func (l *krl) revokes(key ssh.PublicKey) bool {
	cert, certified := key.(*ssh.Certificate)
	if !certified {
		return l.hasKey(key)
	}
	return l.hasKey(cert.Key) || l.hasKey(cert.SignatureKey) ||
		slices.ContainsFunc(l.certs, func(c revokedCerts) bool { return c.has(cert) })
}

func (l *krl) hasKey(key ssh.PublicKey) bool {
	blob := key.Marshal()
	old, sum := sha1.Sum(blob), sha256.Sum256(blob) //nolint:gosec // a list may name keys by it
	return l.keys[string(blob)] || l.sums[string(old[:])] || l.sums[string(sum[:])]
}

// has reports whether cert is one of these. A certificate with the serial number 0 has none.
func (c revokedCerts) has(cert *ssh.Certificate) bool {
	if c.ca != nil && !bytes.Equal(c.ca, cert.SignatureKey.Marshal()) {
		return false
	}
	switch {
	case c.ids[cert.KeyId]:
		return true
	case cert.Serial == 0:
		return false
	}
	inRange := func(r serialRange) bool { return r.from <= cert.Serial && cert.Serial <= r.to }
	inBitmap := func(b serialBitmap) bool {
		n := cert.Serial - b.from
		return cert.Serial >= b.from && n < uint64(b.bits.BitLen()) && b.bits.Bit(int(n)) == 1 //nolint:gosec // an int
	}
	return slices.ContainsFunc(c.serials, inRange) || slices.ContainsFunc(c.bitmaps, inBitmap)
}
