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
	if slices.ContainsFunc(produced, func(t string) bool { return accepts(headers, t) }) {
		return nil
	}
	return ErrNotAcceptable
}

// preferred returns the produced media type that the Accept headers like best, the first of several.
func preferred(headers, produced []string) (best string) {
	most := -1.0
	for _, t := range produced {
		if q := liking(headers, t); q > most {
			best, most = t, q
		}
	}
	return best
}

// accepts says whether the headers take the type.
func accepts(headers []string, produced string) bool { return liking(headers, produced) > 0 }

// liking lets the most specific range decide, so that "text/html, */*;q=0" does not take JSON.
func liking(headers []string, produced string) (q float64) {
	if len(headers) == 0 {
		return 1
	}
	family, _, _ := strings.Cut(produced, "/")
	specificity := map[string]int{"*/*": 1, family + "/*": 2, produced: 3}
	best := 0
	for item := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		name, params, err := mime.ParseMediaType(item)
		if err != nil || specificity[name] <= best {
			continue
		}
		best, q = specificity[name], weight(params["q"])
	}
	return q
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
