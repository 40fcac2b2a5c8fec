package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// flush drops what was typed before.
func flush(terminal *os.File) { _ = windows.FlushConsoleInputBuffer(windows.Handle(terminal.Fd())) }
