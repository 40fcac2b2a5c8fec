package terminal

import (
	"io"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/memoryplugin/memoryplugin-go"
)

const (
	idWidth    = 80
	titleWidth = 40
	unknown    = "-" // what the server did not send
)

// WriteTable writes conversations as a table.
func WriteTable(w io.Writer, conversations []memoryplugin.Conversation) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.Options{}
	t.Style().Box.PaddingLeft = ""
	t.Style().Box.PaddingRight = "  "
	t.SuppressTrailingSpaces()
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "TITLE", WidthMax: titleWidth, WidthMaxEnforcer: text.Trim}})
	t.AppendHeader(table.Row{"ID", "TITLE", "PROVIDER", "CREATED", "UPDATED", "MESSAGES", "PINNED"})
	for _, c := range conversations {
		row := table.Row{cut(Quote(c.ID), idWidth), cut(quoteTitle(c.Title), titleWidth), unknown, unknown, unknown, unknown, unknown}
		if c.Platform != "" {
			row[2] = cut(Quote(c.Platform), titleWidth)
		}
		if !c.CreatedAt.IsZero() {
			row[3] = day(c.CreatedAt)
		}
		if !c.UpdatedAt.IsZero() {
			row[4] = day(c.UpdatedAt)
		}
		if c.MessageCount != nil {
			row[5] = strconv.Itoa(*c.MessageCount)
		}
		if c.Pinned != nil {
			row[6] = map[bool]string{true: "yes", false: "no"}[*c.Pinned]
		}
		t.AppendRow(row)
	}
	_, err := io.WriteString(w, t.Render()+"\n")
	return err
}
