// Package rooms keeps the rooms of Atlas apart. It holds no code: its test reads the tree and fails where a package
// imports what its room must not know, naming the rule that broke and why it stands.
//
// The rules are held over direct imports of files that are not tests: a test may reach into any room to set its scene.
// So may a test kit, a package whose name ends in "test". What imports cannot show, such as a decider that reads the
// clock, is left to the reader.
//
// The same test keeps the shape of the tree: the top level, a doc.go in every package, and no package named for being
// useful.
package rooms
