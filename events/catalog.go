package events

import "slices"

// Catalog lists every event type of Atlas. A new aggregate adds its list here.
func Catalog() []Type {
	return slices.Concat(
		Subject,
		Email,
		User,
		Admins,
		Session,
		APIKey,
		Signing,
		Document,
		Message,
	)
}
