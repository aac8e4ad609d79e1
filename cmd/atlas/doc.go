// Command atlas is the whole of Atlas in one binary: the server, and what an operator does to it.
//
// Settings come from the environment (Config lists them) and are checked together before anything starts. It exits 0
// after a clean end, 2 for a mistake of whoever called it (settings, arguments, a name of nothing that is there, something not
// installed, or taken by another process), and 1 when something failed, or is not as it should be.
package main
