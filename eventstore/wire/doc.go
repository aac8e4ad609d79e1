// Package wire is how events look to programs outside Atlas, over whatever they come: as JSON, in today's shape.
//
// # Promises
//
//   - What is personal in an event is there only for who may see it (unseal), and for nobody once its subject is forgotten;
//     the member sealed says which. What is secret is for nobody, nor is the hash of an API key.
//   - Data has the shape of schema_version: the newest this binary knows, whatever shape was stored. An event that a newer
//     binary wrote comes as it was stored, which is the shape that binary has.
//   - One value that cannot be read holds up nobody: its event says "damaged" and comes without it.
package wire
