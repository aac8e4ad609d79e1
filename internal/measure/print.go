package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteJSON writes each figure as a line.
func WriteJSON(w io.Writer, figures []Figure) error {
	out := json.NewEncoder(w)
	for _, f := range figures {
		if err := out.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// WriteTable writes the figures for people to read.
func WriteTable(w io.Writer, figures []Figure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "case\tclients\tvalue\tlimit\tunit\tratio\tp50 ms\tp99 ms\t")
	for _, f := range figures {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%.2f\t%s\t%s\t\n", f.Case, f.Clients, short(f.Value), short(f.Limit), f.Unit, f.Ratio, orNone(f.P50), orNone(f.P99))
	}
	return t.Flush()
}

func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func orNone(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}
