package boot

import (
	"path/filepath"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/oracletest"
)

// fileOf returns an entry as a snapshot has it.
func fileOf(e oracletest.Entry) confdir.File {
	f := confdir.File{Path: "/" + e.Path, Target: e.Target}
	switch e.Kind {
	case "text", "link":
		f.Regular, f.Text = true, e.Text
	case "directory":
		f.Unread = isDirectory
	case "loop":
		f.Unread = linkLoop
	case "dangling":
		f.Unread = "No such file or directory"
	}
	return f
}

// filesOf returns the entries that a snapshot has. The script that takes one asks the shell for *.conf, which leaves out
// other names and hidden ones.
func filesOf(list []oracletest.Entry) []confdir.File {
	var fs []confdir.File
	for _, e := range list {
		if base := filepath.Base(e.Path); filepath.Ext(base) == ".conf" && base[0] != '.' {
			fs = append(fs, fileOf(e))
		}
	}
	return fs
}
