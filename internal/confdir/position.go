package confdir

import "strconv"

// Position is a line of a file.
type Position struct {
	// File is the path of the file.
	File string
	// Line is its number, from 1. It is 0 for the file as a whole.
	Line int
}

// String returns path:line, or the path alone for the file as a whole.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}
