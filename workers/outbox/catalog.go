package outbox

import "slices"

// Catalog lists every contract of Atlas. A new aggregate adds its list here.
func Catalog() []Contract {
	return slices.Concat(
		User,
		Document,
	)
}
