package projections

import "github.com/atlas-platform/atlas/projections/engine"

// Catalog lists every read table of Atlas. A new one is added here.
func Catalog() []engine.Projection {
	return []engine.Projection{
		Users,
		Sessions,
		APIKeys,
		Documents,
		DocumentHistory,
		DocumentStatistics,
	}
}
