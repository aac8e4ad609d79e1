package httpapi

import (
	"mime"
	"slices"
	"strconv"
	"strings"
)

// acceptable says whether the Accept headers take one of the produced media types. No header takes everything; ranges
// that cannot be read are passed over.
func acceptable(headers, produced []string) error {
	if len(headers) == 0 || slices.ContainsFunc(produced, func(t string) bool { return accepts(headers, t) }) {
		return nil
	}
	return ErrNotAcceptable
}

// accepts lets the most specific range decide, so that "text/html, */*;q=0" does not take JSON.
func accepts(headers []string, produced string) bool {
	family, _, _ := strings.Cut(produced, "/")
	specificity := map[string]int{"*/*": 1, family + "/*": 2, produced: 3}
	best, taken := 0, false
	for item := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		name, params, err := mime.ParseMediaType(item)
		if err != nil || specificity[name] <= best {
			continue
		}
		best, taken = specificity[name], weight(params["q"]) > 0
	}
	return taken
}

func weight(q string) float64 {
	if q == "" {
		return 1
	}
	f, err := strconv.ParseFloat(q, 64)
	if err != nil {
		return 0
	}
	return f
}
