package host

// Notes: what remembers the values from before of keys that have no drop-in. A note lasts as long as such a value does,
// which is until the next boot, and it sets nothing.

import (
	"maps"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// noteDir is where notes are. It is empty after a boot, and every snapshot has its files.
const noteDir = "/run/sysctl.d/"

// notePath returns the path of the note of s; "" if s can have none, because its instance has no name.
func (s Sysctls) notePath() string {
	if s.Instance == "" {
		return ""
	}
	return noteDir + modulePrefix + s.Instance + ".conf"
}

// isNote reports whether f is a note of an instance.
func isNote(f confdir.File) bool {
	_, ours := ownerOf(f)
	return ours && strings.HasPrefix(f.Path, noteDir)
}

// note returns the text of the note of s, with these values from before; "" if a drop-in holds them.
func (s Sysctls) note(originals map[sysctl.Key]string) string {
	if s.Persist {
		return ""
	}
	own := map[sysctl.Key]string{}
	for _, v := range s.Settings {
		own[v.Key] = originals[v.Key]
	}
	return markLine(s.owner().mark()) + "\n" + followersText(own)
}

// addNote adds the note of s to v, with these values from before. A host whose /run takes no file does without.
func (s Sysctls) addNote(v *valuesAndFiles, snap *boot.Snapshot, originals map[sysctl.Key]string) {
	path, text := s.notePath(), s.note(originals)
	had, exists := snap.File(path)
	switch {
	case path == "" || text == had.Text:
	case text != "":
		v.written = append(v.written, shell.File{Path: path, Content: text, Optional: true})
	case exists:
		v.removed = append(v.removed, path)
	}
}

// notesOf returns the values from before of keys that notes remember.
func notesOf(snap *boot.Snapshot) map[sysctl.Key]string {
	all := map[sysctl.Key]string{}
	for _, f := range snap.Sysctl {
		if isNote(f) {
			maps.Copy(all, followersIn(f))
		}
	}
	return all
}

// withoutNoted returns the text of a note without the lines of these keys; left is false if it then remembers nothing.
func withoutNoted(f confdir.File, keys map[sysctl.Key]bool) (text string, left bool) {
	o, _ := ownerOf(f)
	all := followersIn(f)
	for k := range keys {
		delete(all, k)
	}
	return markLine(o.mark()) + "\n" + followersText(all), len(all) > 0
}

// withoutNotes returns held without what notes hold: a value without a file is nobody's property.
func withoutNotes(held map[sysctl.Key][]holding) map[sysctl.Key][]holding {
	rest := map[sysctl.Key][]holding{}
	for k, all := range held {
		for _, h := range all {
			if !isNote(h.file) {
				rest[k] = append(rest[k], h)
			}
		}
	}
	return rest
}

// holdingsInNotes adds to found the wanted keys that notes of other instances remember.
func (s Sysctls) holdingsInNotes(snap *boot.Snapshot, wanted map[sysctl.Key]bool, found map[sysctl.Key][]holding) {
	for _, f := range snap.Sysctl {
		o, _ := ownerOf(f)
		if !isNote(f) || o.Instance == s.Instance {
			continue
		}
		for k := range followersIn(f) {
			if wanted[k] {
				found[k] = append(found[k], holding{o, f, k})
			}
		}
	}
}
